import { expect, it } from "vitest";
import { DECIDED, whyNotAllowed, whyNotAllowedInFolder } from "./namespaces.ts";
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

it("knows a namespace by its name alone in a folder, where an open tunnel takes all", () => {
  const folder = (allowedNamespaces: Allowed) => {
    const common = { nodeName: "n1", remote: { address: "192.0.2.2" } };
    const spec = { ...common, ...(allowedNamespaces && { allowedNamespaces }) };
    return whyNotAllowedInFolder({ metadata: { name: "branch" }, spec }, "shop");
  };
  const named = (name: string) => ({
    selector: { matchLabels: { "kubernetes.io/metadata.name": name } },
  });
  expect(folder(undefined)).toBeNull();
  expect(folder(DECIDED)).toBeNull();
  expect(folder(named("shop"))).toBeNull();
  expect(folder(named("bakery"))).toContain("which lacks kubernetes.io/metadata.name=bakery; ");
  expect(folder({ selector })).toContain("which lacks team=net, site=b; ");
});
