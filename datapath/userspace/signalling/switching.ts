/** Relays status and endings between the control connections of two sessions that are switched to each other. */
import { randomBytes } from "node:crypto";
import type { CircuitStatus } from "../../../l2tp/control/circuit-status.ts";
import type { Peering } from "../../../l2tp/control/peering.ts";
import type { Ending } from "../../../l2tp/control/session.ts";
import type { ResultCode } from "../../../l2tp/control/value-formats.ts";
import type { SignalledSession } from "./signalled-session.ts";

/** The longest Tunnel Switching Aggregator ID, in octets, that peers accept (H3C). */
const MAX_NAME = 64;
const UNIQUE_OCTETS = 8;

/** A session that a peer has ended. Its partner must end with the same result. */
interface RelayedEnding {
  readonly key: string;
  readonly code: ResultCode;
}

/** The session that a session is switched to, and the peering that forwards its frames. */
export interface Partner {
  readonly key: string;
  readonly peering: Peering;
}

/** Returns the name of the object behind a key: several datapaths share the process (process-view.ts). */
export function objectOf(key: string): string {
  const [object = ""] = key.split(":", 1);
  return object;
}

export class Switching {
  /** Identifies this process. No call of an earlier process is still up. */
  readonly #unique = randomBytes(UNIQUE_OCTETS).toString("hex");
  /** Established sessions, by peering and key. */
  readonly #established = new Set<string>();
  #endings: RelayedEnding[] = [];

  established(peering: string, key: string): void {
    this.#established.add(`${peering} ${key}`);
  }

  /** @param isActive true if the peering forwards the frames */
  ended(peering: string, key: string, ending: Ending, isActive: boolean): void {
    const wasEstablished = this.#established.delete(`${peering} ${key}`);
    const { by, code } = ending;
    // A session that was never established failed for a reason that does not concern the partner.
    if (wasEstablished && isActive && by === "peer" && code !== undefined) {
      this.#endings.push({ key, code });
    }
  }

  /** Returns the sessions that peers have ended since the last call. */
  takeEndings(): readonly RelayedEnding[] {
    return this.#endings.splice(0);
  }

  /**
   * Returns the names of the switches that a call of the session has passed, ours first; none: it is not switched.
   * @param partner undefined: it has no control connection
   */
  aggregators(
    hostName: string,
    { switchTo }: SignalledSession,
    partner: Partner | undefined,
  ): readonly string[] {
    if (switchTo === undefined) return [];
    const own = `${hostName.slice(0, MAX_NAME - 1 - 2 * UNIQUE_OCTETS)}-${this.#unique}`;
    return [own, ...(partner?.peering.sessionOf(partner.key)?.peerAggregators ?? [])];
  }
}

/**
 * Returns the circuit status to signal to the session's peer: the session's own, and that of the partner's peer.
 * @param partner undefined: it has no control connection
 */
export function relayedCircuit(
  { control: { circuit } }: SignalledSession,
  partner: Partner | undefined,
): CircuitStatus {
  if (partner === undefined) return circuit;
  const beyond = partner.peering.agreementOf(partner.key)?.peerCircuit;
  if (beyond === undefined) return { ...circuit, active: false };
  return {
    active: circuit.active && beyond.active,
    standby: circuit.standby || beyond.standby,
  };
}
