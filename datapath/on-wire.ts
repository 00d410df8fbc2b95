/** Tunnels and sessions with the IDs that their messages have. Pure. */
import { agreed } from "../model/carried.ts";
import { forwardedSession } from "../model/datapath.ts";
import type { Session } from "../model/model.ts";
import type { SessionState, TunnelState } from "./datapath.ts";

/** Returns the session with its negotiated values, if it is signaled; null: it has no frames on the wire yet. */
export function sessionOnWire(state: SessionState): Session | null {
  const { session, control } = state;
  if (control === undefined) return forwardedSession(state);
  return control.established === null ? null : agreed(session, control.established);
}

/** 0: not negotiated yet. */
export interface TunnelIds {
  readonly tunnelId: number;
  readonly peerTunnelId: number;
}

/** Returns the control connection's IDs if they are negotiated; data messages have none (RFC 3931, 4.1). */
export function tunnelIdsOnWire({
  tunnel,
  control,
}: Pick<TunnelState, "tunnel" | "control">): TunnelIds {
  if (control?.mode !== "Managed") return tunnel;
  return { tunnelId: control.localConnectionId, peerTunnelId: control.peerConnectionId };
}
