/** What the control connections of two sessions that are switched to each other tell of one another. */
import { randomBytes } from "node:crypto";
import type { CircuitStatus } from "../../../l2tp/control/circuit-status.ts";
import type { Peering } from "../../../l2tp/control/peering.ts";
import type { Ending } from "../../../l2tp/control/session.ts";
import type { SignalledSession } from "./signalled-session.ts";

/** Octets of a Tunnel Switching Aggregator ID that peers take (H3C). */
const MAX_NAME = 64;
const UNIQUE_OCTETS = 8;

/** A session that a peer has ended, whose partner is to end likewise. */
interface RelayedEnding {
  readonly key: string;
  readonly ending: Ending;
}

export class Switching {
  /** Tells this process from all others; calls of an earlier one are over. */
  readonly #unique = randomBytes(UNIQUE_OCTETS).toString("hex");
  /** Sessions that stand, by peering and key. */
  readonly #standing = new Set<string>();
  #endings: RelayedEnding[] = [];

  stands(peering: string, key: string): void {
    this.#standing.add(`${peering} ${key}`);
  }

  /** @param isActive frames go by the peering */
  ended(peering: string, key: string, ending: Ending, isActive: boolean): void {
    const stood = this.#standing.delete(`${peering} ${key}`);
    const { by, result } = ending;
    // What never stood was refused for a reason between the peer and us.
    if (stood && isActive && by === "peer" && result !== null) this.#endings.push({ key, ending });
  }

  /** Sessions that peers have ended since it was last asked. */
  takeEndings(): readonly RelayedEnding[] {
    return this.#endings.splice(0);
  }

  /**
   * The names of the switches that a call of the session comes by: ours first; none: it is not switched.
   * @param partner by which the partner's frames go; undefined: it has no control connection
   */
  aggregators(
    hostName: string,
    { switchTo }: SignalledSession,
    partner: Peering | undefined,
  ): readonly string[] {
    if (switchTo === undefined) return [];
    const own = `${hostName.slice(0, MAX_NAME - 1 - 2 * UNIQUE_OCTETS)}-${this.#unique}`;
    return [own, ...(partner?.sessionOf(switchTo)?.peerAggregators ?? [])];
  }
}

/**
 * The circuit that the session's peer is told of: that of the partner's peer.
 * @param partner by which the partner's frames go; undefined: it has no control connection
 */
export function relayedCircuit(
  { switchTo, control: { circuit } }: SignalledSession,
  partner: Peering | undefined,
): CircuitStatus {
  if (partner === undefined || switchTo === undefined) return circuit;
  const beyond = partner.agreementOf(switchTo)?.peerCircuit;
  if (beyond === undefined) return { ...circuit, active: false };
  return {
    active: circuit.active && beyond.active,
    standby: circuit.standby || beyond.standby,
  };
}
