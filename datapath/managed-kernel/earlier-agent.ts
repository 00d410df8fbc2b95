/**
 * Tunnels of an agent of an earlier version. It marks managed kernel tunnels with `handsOver` instead of `socketOwner`.
 * A datapath process can be newer than its agent.
 */
import type { Tunnel } from "../../model/model.ts";
import { MANAGED_KERNEL } from "./traits.ts";

type VersionedTunnel = Tunnel & { readonly handsOver?: true };

/** Returns the tunnel with its socket's owner, also for an earlier agent. */
export function withSocketOwner(tunnel: VersionedTunnel): Tunnel {
  if (tunnel.handsOver !== true || tunnel.socketOwner !== undefined) return tunnel;
  return { ...tunnel, socketOwner: MANAGED_KERNEL.name };
}

/** Returns the tunnel for a listing: without the field that an earlier agent did not put, and would see as a change. */
export function asEarlierAgentPut(tunnel: VersionedTunnel): Tunnel {
  if (tunnel.handsOver !== true) return tunnel;
  const { socketOwner: _, ...put } = tunnel;
  return put;
}
