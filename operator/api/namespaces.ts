/**
 * Namespaces whose sessions may use a tunnel. In a cluster the controller decides, because it knows the labels of
 * namespaces. With a folder of manifests the agent decides.
 */
import type { TunnelSpec } from "./types.ts";

/** The default for tunnels without allowedNamespaces. */
export type DefaultNamespaces = "All" | "None";

/** The value in tunnels that an agent reads from a cluster: the controller has already checked the namespaces. */
export const DECIDED = { from: "All" } as const satisfies TunnelSpec["allowedNamespaces"];

/** Returns `from` with its default, which is Selector if there is a selector. */
export function allowedFrom(
  { allowedNamespaces }: Pick<TunnelSpec, "allowedNamespaces">,
  byDefault: DefaultNamespaces,
): "All" | "None" | "Selector" {
  const { from, selector } = allowedNamespaces ?? {};
  return from ?? (selector === undefined ? byDefault : "Selector");
}

type NamedTunnel = { readonly metadata: { readonly name: string }; readonly spec: TunnelSpec };

/**
 * `whyNotAllowed` without an API server. A namespace has only the label that Kubernetes sets on each namespace. Tunnels
 * and sessions of a folder have the same author, so a tunnel without allowedNamespaces accepts all.
 */
export function whyNotAllowedInFolder(tunnel: NamedTunnel, namespace: string): string | null {
  const labels = { "kubernetes.io/metadata.name": namespace };
  return whyNotAllowed(tunnel, namespace, labels, "All");
}

/**
 * Returns why the tunnel does not accept sessions of the namespace, with the remedy; null: it accepts them.
 * @param labels of the namespace; undefined: the namespace does not exist
 */
export function whyNotAllowed(
  tunnel: NamedTunnel,
  namespace: string,
  labels: Readonly<Record<string, string>> | undefined,
  byDefault: DefaultNamespaces,
): string | null {
  const from = allowedFrom(tunnel.spec, byDefault);
  if (from === "All") return null;
  const { name } = tunnel.metadata;
  if (from === "None") {
    return `L2tpTunnel ${name} allows no namespaces; allow namespace ${namespace} in its spec.allowedNamespaces`;
  }
  const wanted = Object.entries(tunnel.spec.allowedNamespaces?.selector?.matchLabels ?? {});
  const missing = wanted.filter(([label, value]) => labels?.[label] !== value);
  if (missing.length === 0) return null;
  const shown = missing.map(([label, value]) => `${label}=${value}`).join(", ");
  return `L2tpTunnel ${name} does not allow namespace ${namespace}, which lacks ${shown}; label the namespace, or change spec.allowedNamespaces of the tunnel`;
}
