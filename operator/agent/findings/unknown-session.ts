/** Data messages that no session of the node takes. */

import { type TunnelFinding, warning } from "./picture.ts";
import { unexpectedSource } from "./source.ts";

export const unknownSession: TunnelFinding = ({ state, grown, wire }) => {
  // A thousand keyed tunnels may have one endpoint: only the capture tells whose a message would be.
  const rxUnknownSession = state.tunnel.keyed
    ? (wire?.unknownSessions.count ?? 0)
    : grown.rxUnknownSession;
  if (rxUnknownSession === 0) return null;
  const last = wire?.unknownSessions.last ?? state.lastUnknownSession;
  // A datapath of an earlier version: the session is another one's of its threads.
  if (last === null && state.lastStranger !== null) {
    return unexpectedSource(rxUnknownSession, state.lastStranger);
  }
  const words = last === null ? "" : `, the last one for ${last}`;
  const finding = `${rxUnknownSession} messages came for session ids that nobody has here${words}`;
  return warning(finding, "compare the session id that the peer sends with spec.sessionId");
};
