/** A signaled session, and its configuration for the control connection. */
import type { SessionConfig } from "../../../l2tp/control/session.ts";
import type { Session, SessionControl } from "../../../model/model.ts";

/** The session as the agent has put it. */
export type SignalledSession = Session & { readonly control: SessionControl };

/** True if the ends negotiate the session. */
export function isSignalled(session: Session): session is SignalledSession {
  return session.control !== undefined;
}

/** Returns the session's configuration for the control connection. */
export function sessionConfig({ control, ...session }: SignalledSession): SessionConfig {
  const { remoteEndId, places, pseudowireType, rxCookie } = control;
  return {
    key: session.key,
    remoteEndId,
    callRequest: places,
    pseudowireType,
    rxCookie,
    l2SpecificSublayer: session.l2SpecificSublayer,
    receiveSequencing: session.sequencing.receive,
    interfaceMtu: session.mtu,
  };
}
