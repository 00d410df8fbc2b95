/**
 * Namespaces whose sessions may use a tunnel. In a cluster the controller decides, which knows the labels
 * of namespaces; for a folder the agent does.
 */
import type { TunnelSpec } from "./types.ts";

/** Applies to a tunnel that leaves it open. */
export type DefaultNamespaces = "All" | "None";

/** Stands in tunnels that an agent has from a cluster: the controller has decided on the tunnel's sessions. */
export const DECIDED = { from: "All" } as const satisfies TunnelSpec["allowedNamespaces"];

/** A selector alone is meant to select. */
export function allowedFrom(
  { allowedNamespaces }: Pick<TunnelSpec, "allowedNamespaces">,
  byDefault: DefaultNamespaces,
): "All" | "None" | "Selector" {
  const { from, selector } = allowedNamespaces ?? {};
  return from ?? (selector === undefined ? byDefault : "Selector");
}

type NamedTunnel = { readonly metadata: { readonly name: string }; readonly spec: TunnelSpec };

/**
 * As `whyNotAllowed`, without an API server. A namespace has the one label that Kubernetes gives to each. A
 * folder has one writer for tunnels and sessions: a tunnel that leaves it open takes all of them.
 */
export function whyNotAllowedInFolder(tunnel: NamedTunnel, namespace: string): string | null {
  const labels = { "kubernetes.io/metadata.name": namespace };
  return whyNotAllowed(tunnel, namespace, labels, "All");
}

/**
 * Why sessions of the namespace may not run in the tunnel, and what its administrator can do; null: they may.
 * @param labels of the namespace; undefined: there is none of the name
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
  const refusal = `L2tpTunnel ${name} does not allow namespace ${namespace}`;
  if (from === "None") {
    return `${refusal}, nor any other; its administrator can, in spec.allowedNamespaces`;
  }
  const wanted = Object.entries(tunnel.spec.allowedNamespaces?.selector?.matchLabels ?? {});
  const missing = wanted.filter(([label, value]) => labels?.[label] !== value);
  if (missing.length === 0) return null;
  const shown = missing.map(([label, value]) => `${label}=${value}`).join(", ");
  return `${refusal}, which lacks ${shown}; its administrator can label the namespace, or change spec.allowedNamespaces`;
}
