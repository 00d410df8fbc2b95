/** A signalled session as its frames are to be carried. */

import type { EstablishedSession } from "../l2tp/control/session.ts";
import type { Session } from "./model.ts";

/** @param established undefined: the ends have not agreed */
export function carried(session: Session, established: EstablishedSession | undefined): Session {
  return established === undefined ? dormant(session) : agreed(session, established);
}

/** Receives and sends nothing: nobody has an id of 0. */
function dormant(session: Session): Session {
  return { ...session, sessionId: 0, peerSessionId: 0, rxCookie: "", txCookie: "" };
}

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
