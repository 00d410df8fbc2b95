/** A session that is signalled: as the agent has put it, as the peer is told of it, and as the packet path has it. */
import type { EstablishedSession, SessionConfig } from "../../l2tp/control/session.ts";
import type { Session, SessionControl } from "../../l2tp/model.ts";

/** As the agent has put it. */
export type Wanted = Session & { readonly control: SessionControl };

export function isSignalled(session: Session): session is Wanted {
  return session.control !== undefined;
}

/** As the packet path is to have it. @param established undefined: the ends have not agreed */
export function carried(session: Session, established: EstablishedSession | undefined): Session {
  return established === undefined ? dormant(session) : agreed(session, established);
}

/** Receives and sends nothing: nobody has an id of 0. */
function dormant(session: Session): Session {
  return { ...session, sessionId: 0, peerSessionId: 0, rxCookie: "", txCookie: "" };
}

function agreed(session: Session, established: EstablishedSession): Session {
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

export function sessionConfig({ control, ...session }: Wanted): SessionConfig {
  const { remoteEndId, places, pseudowireType, rxCookie } = control;
  return {
    key: session.key,
    remoteEndId,
    places,
    pseudowireType,
    rxCookie,
    l2SpecificSublayer: session.l2SpecificSublayer,
    receiveSequencing: session.sequencing.receive,
    interfaceMtu: session.mtu,
  };
}
