/**
 * Tunnels as an agent of an earlier version puts them, which calls the kernel's ones `handsOver` and knows no
 * `socketOwner`: a process may be newer than its agent.
 */
import type { Tunnel } from "../../model/model.ts";
import { MANAGED_KERNEL } from "./traits.ts";

type VersionedTunnel = Tunnel & { readonly handsOver?: true };

/** The tunnel with its socket's owner, also if an earlier agent has put it. */
export function withSocketOwner(tunnel: VersionedTunnel): Tunnel {
  if (tunnel.handsOver !== true || tunnel.socketOwner !== undefined) return tunnel;
  return { ...tunnel, socketOwner: MANAGED_KERNEL.name };
}

/** The tunnel as it is listed: a field that an earlier agent has not put is a difference to it. */
export function asEarlierAgentPut(tunnel: VersionedTunnel): Tunnel {
  if (tunnel.handsOver !== true) return tunnel;
  const { socketOwner: _, ...put } = tunnel;
  return put;
}
