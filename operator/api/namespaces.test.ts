import { expect, it } from "vitest";
import { whyNotAllowed } from "./namespaces.ts";
import type { TunnelSpec } from "./types.ts";

const selector = { matchLabels: { team: "net", site: "b" } };
type Allowed = TunnelSpec["allowedNamespaces"];

function why(allowedNamespaces: Allowed, labels?: Record<string, string>, byDefault = "All") {
  const common = { nodeName: "n1", remote: { address: "192.0.2.2" } };
  const spec = { ...common, ...(allowedNamespaces && { allowedNamespaces }) };
  const tunnel = { metadata: { name: "branch" }, spec };
  return whyNotAllowed(tunnel, "shop", labels, byDefault as "All" | "None");
}

it("takes all namespaces or none where the tunnel does not say, as the cluster has it", () => {
  for (const open of [undefined, {}]) {
    expect(why(open)).toBeNull();
    expect(why(open, {}, "None")).toBe(
      "L2tpTunnel branch does not allow namespace shop, nor any other; its administrator can, in spec.allowedNamespaces",
    );
  }
});

it("takes what the tunnel says, whatever the cluster has", () => {
  expect(why({ from: "All" }, {}, "None")).toBeNull();
  expect(why({ from: "None" })).toContain("nor any other");
});

it.each<[string, Allowed]>([
  ["by its word", { from: "Selector", selector }],
  ["alone", { selector }],
])("selects namespaces by all labels of a selector, %s", (_how, allowed) => {
  expect(why(allowed, { team: "net", site: "b", more: "x" })).toBeNull();
  expect(why(allowed, { team: "net" })).toContain("which lacks site=b; ");
  // There is no such namespace.
  expect(why(allowed, undefined)).toContain("which lacks team=net, site=b; ");
});
