/** Tunnels and sessions by the ids that their messages have. Pure. */
import { agreed } from "../model/carried.ts";
import { forwardedSession } from "../model/datapath.ts";
import type { Session } from "../model/model.ts";
import type { SessionState, TunnelState } from "./datapath.ts";

/** The session with what the ends have agreed on, if it is signalled; null: it has no frames on the wire yet. */
export function sessionOnWire(state: SessionState): Session | null {
  const { session, control } = state;
  if (control === undefined) return forwardedSession(state);
  return control.established === null ? null : agreed(session, control.established);
}

/** 0: the ends have not told each other yet. */
export interface TunnelIds {
  readonly tunnelId: number;
  readonly peerTunnelId: number;
}

/** The control connection's ids, where the ends tell each other; data messages have none (RFC 3931, 4.1). */
export function tunnelIdsOnWire({
  tunnel,
  control,
}: Pick<TunnelState, "tunnel" | "control">): TunnelIds {
  if (control?.mode !== "Managed") return tunnel;
  return { tunnelId: control.localConnectionId, peerTunnelId: control.peerConnectionId };
}
