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

it("applies the cluster's default to a tunnel without allowedNamespaces", () => {
  for (const open of [undefined, {}]) {
    expect(why(open)).toBeNull();
    expect(why(open, {}, "None")).toBe(
      "L2tpTunnel branch allows no namespaces; allow namespace shop in its spec.allowedNamespaces",
    );
  }
});

it("prefers the tunnel's value to the cluster's default", () => {
  expect(why({ from: "All" }, {}, "None")).toBeNull();
  expect(why({ from: "None" })).toContain("allows no namespaces");
});

it.each<[string, Allowed]>([
  ["with from", { from: "Selector", selector }],
  ["without from", { selector }],
])("requires all labels of a selector, %s", (_how, allowed) => {
  expect(why(allowed, { team: "net", site: "b", more: "x" })).toBeNull();
  expect(why(allowed, { team: "net" })).toContain("which lacks site=b; ");
  // The namespace does not exist.
  expect(why(allowed, undefined)).toContain("which lacks team=net, site=b; ");
});

it("knows only the name of a namespace in a folder, and accepts all by default", () => {
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
