/** Findings about data messages with an unknown session ID. */

import { counted, type TunnelFinding, warning } from "./picture.ts";
import { unexpectedSource } from "./source.ts";

export const unknownSession: TunnelFinding = ({ state, grown, wire }) => {
  // Many keyed tunnels can share one endpoint, so only the capture assigns a message to a tunnel.
  const rxUnknownSession = state.tunnel.keyed
    ? (wire?.unknownSessions.count ?? 0)
    : grown.rxUnknownSession;
  if (rxUnknownSession === 0) return null;
  const last = wire?.unknownSessions.last ?? state.lastUnknownSession;
  // In a datapath process of an earlier version, the session belongs to another of its threads.
  if (last === null && state.lastStranger !== null) {
    return unexpectedSource(rxUnknownSession, state.lastStranger);
  }
  const words = last === null ? "" : `, the last with ${last}`;
  const finding = `received ${counted(rxUnknownSession, "message")} with an unknown session ID${words}`;
  return warning(finding, "compare the session ID that the peer sends with spec.sessionId");
};
