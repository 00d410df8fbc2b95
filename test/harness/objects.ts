/** L2tpTunnel and L2tpSession objects for two hosts of a TestNet. */
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import type { Host } from "./net.ts";

/** In the suite "fast", tunnels use the fast path. */
const FAST = process.env.L2TP_TEST_FAST_PATH === "on" ? { udpChecksum: false, fastPath: true } : {};
const fastOf = (spec: { readonly encapsulation?: unknown }) =>
  spec.encapsulation === "IP" ? {} : FAST;

export function tunnelObject(
  name: string,
  local: Host,
  remote: Host,
  change: Partial<TunnelSpec> = {},
): object {
  const ids = { tunnelId: 1, peerTunnelId: 1 };
  const ends = {
    local: { address: local.ipv4, port: 5000 },
    remote: { address: remote.ipv4, port: 5000 },
  };
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpTunnel",
    metadata: { name },
    spec: {
      nodeName: local.name,
      encapsulation: "UDP",
      ...ids,
      ...ends,
      ...fastOf(change),
      ...change,
    },
  };
}

export function sessionObject(
  name: string,
  tunnel: string,
  change: Partial<SessionSpec> = {},
  namespace = "shop",
): object {
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpSession",
    metadata: { name, namespace },
    spec: { tunnelRef: { name: tunnel }, sessionId: 128, peerSessionId: 128, ...change },
  };
}

/** One end of a managed tunnel, without the fields that are negotiated. */
export function managedTunnel(
  name: string,
  local: Host,
  remote: Host,
  control: object,
  more: object = {},
): object {
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpTunnel",
    metadata: { name },
    spec: {
      nodeName: local.name,
      remote: { address: remote.ipv4 },
      control,
      ...fastOf(more),
      ...more,
    },
  };
}

export function managedSession(name: string, tunnel: string, more: object = {}): object {
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpSession",
    metadata: { name, namespace: "shop" },
    spec: { tunnelRef: { name: tunnel }, ...more },
  };
}
