/**
 * An L2TP control connection endpoint (LCCE): tells which datagram is for which tunnel's peering, and bounds what
 * strangers can make it do.
 */
import type { Endpoint } from "../model.ts";
import type { ControlConnection } from "./connection.ts";
import { Deadlines } from "./deadlines.ts";
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
const MAX_REQUESTS_PER_SECOND = 1000;
/** A control message is far shorter. */
const MAX_DATAGRAM_OCTETS = 8192;

export interface LcceContext extends Omit<PeeringContext, "newId" | "remember" | "forget"> {
  /** When something else than a control message came of a peering's peer; -Infinity: never. */
  heardAt(peering: string): number;
}

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
  /** By where they are heard, and of whom: peerKey. */
  readonly #byPeer = new Map<string, Set<Peering>>();
  /** Of the deleted ones, too, until they are through with saying so. */
  readonly #deadlines = new Deadlines<Peering>();
  /** Something has happened to them since their deadline was asked for. */
  readonly #touched = new Set<Peering>();
  readonly #connections = new Map<number, Known>();
  readonly #context: LcceContext & PeeringContext;
  #secondBegan = Number.NEGATIVE_INFINITY;
  #requestsOfSecond = 0;

  constructor(context: LcceContext) {
    this.#context = {
      ...context,
      newId: () => this.#newId(),
      remember: (connection, peering) =>
        this.#connections.set(connection.localId, { connection, peering }),
      forget: ({ localId }) => this.#connections.delete(localId),
    };
  }

  /** To look at it, or to change it. */
  peeringOf(name: string): Peering | undefined {
    const peering = this.#peerings.get(name);
    if (peering !== undefined) this.#touched.add(peering);
    return peering;
  }

  /** Whether a control message that comes there from that address may be for anybody here. */
  knows(local: string, address: string): boolean {
    return this.#byPeer.has(peerKey(local, address));
  }

  /** Begins one; the one before of that name ends. */
  put(config: PeeringConfig, now: number): Peering {
    this.#leave(config.name, "its configuration has changed", now);
    const peering = new Peering(config, this.#context, now);
    this.#peerings.set(config.name, peering);
    const key = keyOf(config);
    this.#byPeer.set(key, (this.#byPeer.get(key) ?? new Set()).add(peering));
    peering.poll(now);
    this.#touched.add(peering);
    return peering;
  }

  delete(name: string, now: number): void {
    this.#leave(name, "the tunnel was deleted", now);
  }

  #leave(name: string, why: string, now: number): void {
    const peering = this.#peerings.get(name);
    if (peering === undefined) return;
    this.#peerings.delete(name);
    const key = keyOf(peering.config);
    const others = this.#byPeer.get(key);
    others?.delete(peering);
    if (others?.size === 0) this.#byPeer.delete(key);
    peering.close(why, now);
    this.#touched.add(peering);
  }

  /** @param octets a control message without the octets that stand in front of it over IP */
  receive(local: string, from: Endpoint, octets: Octets, now: number): Verdict {
    const verdict = this.#receive(local, from, octets, now);
    this.verdicts[verdict]++;
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
      this.#touched.add(peering);
      peering.receive(connection, from, octets, now);
      return "taken";
    }
    // There is but one: tunnels that would share a peer are refused (conflicts.ts).
    const [peering] = this.#byPeer.get(peerKey(local, from.address)) ?? [];
    if (peering === undefined) return "unknown peer";
    if (message.type !== "SCCRQ") return "unknown connection";
    this.#touched.add(peering);
    const begun = peering.begunBy(message.attributes.assignedConnectionId);
    if (begun !== undefined) {
      peering.receive(begun, from, octets, now);
      return "taken";
    }
    if (this.#isOverLimit(now)) return "limited";
    return peering.receiveRequest(from, message.attributes, octets, now) ? "taken" : "reflected";
  }

  poll(now: number): void {
    // Asked between any two batches of frames: mostly there is nothing to do.
    if (now < this.deadline()) return;
    const due: Peering[] = [];
    while (this.deadline() <= now) {
      const peering = this.#deadlines.first as Peering;
      this.#deadlines.delete(peering);
      due.push(peering);
    }
    for (const peering of due) {
      this.#touched.add(peering);
      const { name } = peering.config;
      if (this.#peerings.get(name) === peering) peering.hear(this.#context.heardAt(name));
      if (peering.deadline() <= now) peering.poll(now);
    }
  }

  /** When `poll` has something to do; whatever else is called may change it. */
  deadline(): number {
    if (this.#touched.size > 0) this.#noteDeadlines();
    return this.#deadlines.earliest;
  }

  #noteDeadlines(): void {
    for (const peering of this.#touched) {
      if (peering.isOver) this.#deadlines.delete(peering);
      else this.#deadlines.set(peering, peering.deadline());
    }
    this.#touched.clear();
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

function keyOf({ local, remote }: PeeringConfig): string {
  return peerKey(local, remote.address);
}

function peerKey(local: string, address: string): string {
  return `${local} from ${address}`;
}
