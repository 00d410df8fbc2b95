/** A signaled session as its frames are forwarded. */

import type { EstablishedSession } from "../l2tp/control/session.ts";
import type { Session } from "./model.ts";

/** Returns the session as its frames are forwarded. @param established undefined: not negotiated */
export function carried(session: Session, established: EstablishedSession | undefined): Session {
  return established === undefined ? dormant(session) : agreed(session, established);
}

/** Returns the session with ID 0, which no peer uses: it receives and sends nothing. */
function dormant(session: Session): Session {
  return { ...session, sessionId: 0, peerSessionId: 0, rxCookie: "", txCookie: "" };
}

/** Returns the session with its negotiated values. */
export function agreed(session: Session, established: EstablishedSession): Session {
  const { sessionId, peerSessionId, rxCookie, txCookie, l2SpecificSublayer } = established;
  const sequencing = { ...session.sequencing, ...established.sequencing };
  return {
    ...session,
    sessionId,
    peerSessionId,
    rxCookie,
    txCookie,
    l2SpecificSublayer,
    sequencing,
  };
}
