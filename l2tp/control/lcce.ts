/**
 * An L2TP control connection endpoint (LCCE): tells which datagram is for which tunnel's peering, and bounds what
 * strangers can make it do.
 */
import type { Endpoint } from "../model.ts";
import type { ControlConnection } from "./connection.ts";
import { decodeMessage } from "./message.ts";
import type { Octets } from "./octets.ts";
import { Peering, type PeeringConfig, type PeeringContext } from "./peering.ts";

/** What became of a datagram. */
export type Verdict =
  | "taken"
  | "undecodable"
  /** Of an address that no tunnel has. */
  | "unknown peer"
  /** Of a connection that is not there (any more). */
  | "unknown connection"
  /** More than are taken in a second. */
  | "limited"
  /** Our own, or for who is about to go. */
  | "reflected";

/** SCCRQs of one second, for the whole endpoint; each makes us compute and answer. */
const MAX_REQUESTS_PER_SECOND = 200;
/** A control message is far shorter. */
const MAX_DATAGRAM_OCTETS = 8192;

interface Known {
  readonly connection: ControlConnection;
  readonly peering: Peering;
}

export class Lcce {
  readonly verdicts: Record<Verdict, number> = {
    taken: 0,
    undecodable: 0,
    "unknown peer": 0,
    "unknown connection": 0,
    limited: 0,
    reflected: 0,
  };
  readonly #peerings = new Map<string, Peering>();
  /** Deleted, and not yet through with saying so. */
  readonly #leaving = new Set<Peering>();
  readonly #connections = new Map<number, Known>();
  readonly #context: PeeringContext;
  #secondBegan = Number.NEGATIVE_INFINITY;
  #requestsOfSecond = 0;
  /** null: has to be computed. */
  #deadline: number | null = null;

  constructor(context: Omit<PeeringContext, "newId" | "remember" | "forget">) {
    this.#context = {
      ...context,
      newId: () => this.#newId(),
      remember: (connection, peering) =>
        this.#connections.set(connection.localId, { connection, peering }),
      forget: ({ localId }) => this.#connections.delete(localId),
    };
  }

  get peerings(): readonly Peering[] {
    return [...this.#peerings.values()];
  }

  /** To look at it, or to change it. */
  peeringOf(name: string): Peering | undefined {
    this.#deadline = null;
    return this.#peerings.get(name);
  }

  /** Begins one; the one before of that name ends. */
  put(config: PeeringConfig, now: number): Peering {
    this.#leave(config.name, "its configuration has changed", now);
    const peering = new Peering(config, this.#context, now);
    this.#peerings.set(config.name, peering);
    peering.poll(now);
    return peering;
  }

  delete(name: string, now: number): void {
    this.#leave(name, "the tunnel was deleted", now);
  }

  #leave(name: string, why: string, now: number): void {
    this.#deadline = null;
    const peering = this.#peerings.get(name);
    if (peering === undefined) return;
    this.#peerings.delete(name);
    peering.close(why, now);
    if (!peering.isOver) this.#leaving.add(peering);
  }

  /** @param octets a control message without the octets that stand in front of it over IP */
  receive(local: string, from: Endpoint, octets: Octets, now: number): Verdict {
    const verdict = this.#receive(local, from, octets, now);
    this.verdicts[verdict]++;
    this.#deadline = null;
    return verdict;
  }

  #receive(local: string, from: Endpoint, octets: Octets, now: number): Verdict {
    if (octets.length > MAX_DATAGRAM_OCTETS) return "undecodable";
    const message = decodeMessage(octets);
    if ("undecodable" in message) return "undecodable";
    const { connectionId } = message.header;
    if (connectionId !== 0) {
      const known = this.#connections.get(connectionId);
      if (known === undefined) return "unknown connection";
      const { connection, peering } = known;
      if (!peering.isWith(local, from)) return "unknown peer";
      peering.receive(connection, from, octets, now);
      return "taken";
    }
    const candidates = this.peerings.filter((each) => each.isWith(local, from));
    const peering = candidates.find(({ config }) => !config.isBackup) ?? candidates[0];
    if (peering === undefined) return "unknown peer";
    if (message.type !== "SCCRQ") return "unknown connection";
    const begun = peering.begunBy(message.attributes.assignedConnectionId);
    if (begun !== undefined) {
      peering.receive(begun, from, octets, now);
      return "taken";
    }
    if (this.#isOverLimit(now)) return "limited";
    return peering.receiveRequest(from, message.attributes, octets, now) ? "taken" : "reflected";
  }

  poll(now: number): void {
    for (const peering of [...this.#peerings.values(), ...this.#leaving]) {
      if (now >= peering.deadline()) peering.poll(now);
    }
    for (const peering of this.#leaving) if (peering.isOver) this.#leaving.delete(peering);
    this.#deadline = null;
  }

  /** When `poll` has something to do; whatever else is called may change it. */
  deadline(): number {
    if (this.#deadline !== null) return this.#deadline;
    let earliest = Number.POSITIVE_INFINITY;
    for (const peering of this.#peerings.values()) {
      earliest = Math.min(earliest, peering.deadline());
    }
    for (const peering of this.#leaving) earliest = Math.min(earliest, peering.deadline());
    this.#deadline = earliest;
    return earliest;
  }

  #isOverLimit(now: number): boolean {
    if (now - this.#secondBegan >= 1000) {
      this.#secondBegan = now;
      this.#requestsOfSecond = 0;
    }
    return ++this.#requestsOfSecond > MAX_REQUESTS_PER_SECOND;
  }

  #newId(): number {
    for (;;) {
      const octets = this.#context.random(4);
      const id = new DataView(octets.buffer, octets.byteOffset).getUint32(0);
      if (id !== 0 && !this.#connections.has(id)) return id;
    }
  }
}
