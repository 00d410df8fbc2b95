/**
 * An L2TP Control Connection Endpoint (LCCE): dispatches datagrams to the peerings of tunnels, and bounds the effect of
 * messages from unknown senders.
 */

import { parseAddress } from "../../net/ip.ts";
import { AddressTable } from "./address-table.ts";
import { Admission, PeerBudget } from "./admission.ts";
import type { ControlConnection } from "./connection.ts";
import { Deadlines } from "./deadlines.ts";
import { type Decoded, decodeMessage, OF_VERSION_2 } from "./message.ts";
import type { Octets } from "./octets.ts";
import { introductionOf } from "./peek.ts";
import { Peering, type PeeringConfig, type PeeringContext } from "./peering.ts";
import type { Endpoint } from "./settings.ts";

/** The result of receiving a datagram. */
export type ReceiveOutcome =
  | "taken"
  | "undecodable"
  /** From an address that is no tunnel's remote. */
  | "unknown peer"
  /** The message's connection does not exist. */
  | "unknown connection"
  /** Our own message, or one for a peering that is closing. */
  | "reflected";

/** Upper bound; control messages are far shorter. */
const MAX_DATAGRAM_OCTETS = 8192;

export interface LcceContext extends Omit<PeeringContext, "newId" | "remember" | "forget"> {
  /** Returns the time of the last data from a peering's peer; -Infinity: never. */
  heardAt(peering: string): number;
  /** Reserves an ID at the local endpoint. Returns false if another program on the node uses it. */
  takeId(local: string, connectionId: number): boolean;
  releaseId(local: string, connectionId: number): void;
}

interface Known {
  readonly connection: ControlConnection;
  readonly peering: Peering;
}

/** A tunnel's remote address at a local endpoint. */
export interface PeerAddress {
  /** Names the local endpoint. */
  readonly local: string;
  readonly address: string;
  readonly peerings: Set<Peering>;
  readonly budget: PeerBudget;
}

export class Lcce {
  readonly verdicts: Record<ReceiveOutcome, number> = {
    taken: 0,
    undecodable: 0,
    "unknown peer": 0,
    "unknown connection": 0,
    reflected: 0,
  };
  readonly #peerings = new Map<string, Peering>();
  /** Peers by peerKey, of local endpoint and address. */
  readonly #byPeer = new Map<string, PeerAddress>();
  /** The same peers by local endpoint, then by address. */
  readonly #byAddress = new Map<string, AddressTable<PeerAddress>>();
  readonly #admission: Admission<PeerAddress>;
  /** Deadlines of all peerings, including deleted ones until they are closed. */
  readonly #deadlines = new Deadlines<Peering>();
  /** Peerings whose deadline may have changed. */
  readonly #touched = new Set<Peering>();
  /** Connections by ID, as a signed number, which V8 stores unboxed. */
  readonly #connections = new Map<number, Known>();
  readonly #context: LcceContext & PeeringContext;

  constructor(context: LcceContext) {
    this.#context = {
      ...context,
      newId: ({ local }) => this.#newId(local),
      remember: (connection, peering) =>
        this.#connections.set(connection.localId | 0, { connection, peering }),
      forget: ({ localId }, { config }) => {
        this.#connections.delete(localId | 0);
        context.releaseId(config.local, localId);
      },
    };
    this.#admission = new Admission(
      () => randomWord(context) | 0,
      (peer, connectionId) => {
        const known = this.#connections.get(connectionId);
        return known?.peering.isWith(peer.local, peer) === true ? known.connection : undefined;
      },
    );
  }

  /** Returns a peering to read or change. */
  peeringOf(name: string): Peering | undefined {
    const peering = this.#peerings.get(name);
    if (peering !== undefined) this.#touched.add(peering);
    return peering;
  }

  /**
   * Returns the peer of an address in a buffer; undefined: it is no tunnel's remote.
   */
  peerAt(local: string, bytes: Uint8Array, at: number, length: number): PeerAddress | undefined {
    return this.#byAddress.get(local)?.find(bytes, at, length);
  }

  /**
   * Admits the peer's message to `receive`, or counts it as dropped.
   * @param end the offset after it
   */
  admits(peer: PeerAddress, view: DataView, at: number, end: number, now: number): boolean {
    return this.#admission.admits(peer, view, at, end, now);
  }

  /** Returns the number of dropped messages of the peer. */
  droppedOf({ local, remote }: PeeringConfig): number {
    return this.#byPeer.get(peerKey(local, remote.address))?.budget.dropped ?? 0;
  }

  /** Starts a peering, and closes the previous one of that name. */
  put(config: PeeringConfig, now: number): Peering {
    // First, so that the peer's budget is kept.
    const peer = this.#peerOf(config);
    const peering = new Peering(config, this.#context, now);
    peer.peerings.add(peering);
    this.#leave(config.name, "the tunnel configuration changed", now);
    this.#peerings.set(config.name, peering);
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
    this.#forgetPeer(peering);
    peering.close(why, now);
    this.#touched.add(peering);
  }

  #peerOf({ local, remote: { address } }: PeeringConfig): PeerAddress {
    const key = peerKey(local, address);
    const known = this.#byPeer.get(key);
    if (known !== undefined) return known;
    const peer: PeerAddress = { local, address, peerings: new Set(), budget: new PeerBudget() };
    this.#byPeer.set(key, peer);
    const addresses = this.#byAddress.get(local) ?? new AddressTable<PeerAddress>();
    this.#byAddress.set(local, addresses);
    addresses.set(bytesOf(address), peer);
    return peer;
  }

  #forgetPeer(peering: Peering): void {
    const { local, remote } = peering.config;
    const key = peerKey(local, remote.address);
    const peer = this.#byPeer.get(key);
    peer?.peerings.delete(peering);
    if (peer?.peerings.size !== 0) return;
    this.#byPeer.delete(key);
    const addresses = this.#byAddress.get(local);
    addresses?.delete(bytesOf(remote.address));
    if (addresses?.size === 0) this.#byAddress.delete(local);
  }

  /** @param octets a control message, without the four zero octets in front of it over IP */
  receive(local: string, from: Endpoint, octets: Octets, now: number): ReceiveOutcome {
    const verdict = this.#receive(local, from, octets, now);
    this.verdicts[verdict]++;
    return verdict;
  }

  #receive(local: string, from: Endpoint, octets: Octets, now: number): ReceiveOutcome {
    if (octets.length > MAX_DATAGRAM_OCTETS) return "undecodable";
    const message = decodeMessage(octets);
    if ("undecodable" in message) {
      if (message.undecodable === OF_VERSION_2) this.#noteVersion(local, from);
      return "undecodable";
    }
    const { connectionId } = message.header;
    if (connectionId !== 0) {
      const known = this.#connections.get(connectionId | 0);
      if (known === undefined) return "unknown connection";
      const { connection, peering } = known;
      if (!peering.isWith(local, from)) return "unknown peer";
      this.#touched.add(peering);
      peering.receive(connection, from, octets, now);
      this.#learn(known, message, octets);
      return "taken";
    }
    // There is only one: tunnels that share a peer are refused (conflicts.ts).
    const [peering] = this.#byPeer.get(peerKey(local, from.address))?.peerings ?? [];
    if (peering === undefined) return "unknown peer";
    if (message.type !== "SCCRQ") return "unknown connection";
    this.#touched.add(peering);
    const { assignedConnectionId } = message.attributes;
    const begun = peering.begunBy(assignedConnectionId);
    if (begun !== undefined) {
      peering.receive(begun, from, octets, now);
      return "taken";
    }
    if (!peering.receiveRequest(from, message.attributes, octets, now)) return "reflected";
    const connection = peering.begunBy(assignedConnectionId);
    if (connection !== undefined) connection.introduction = introduced(octets);
    return "taken";
  }

  #noteVersion(local: string, { address }: Endpoint): void {
    for (const { config } of this.#byPeer.get(peerKey(local, address))?.peerings ?? []) {
      this.#context.listener.noted(config.name, "the peer uses L2TPv2; only L2TPv3 is supported");
    }
  }

  /** Remembers the names of a peer that has confirmed a connection, to recognize its later requests. */
  #learn({ connection, peering }: Known, message: Decoded, octets: Octets): void {
    if (peering.established !== connection) return;
    if (message.type === "SCCRP" && connection.introduction === 0) {
      connection.introduction = introduced(octets);
    }
    if (connection.introduction === 0) return;
    this.#peerOf(peering.config).budget.introduction = connection.introduction;
  }

  poll(now: number): void {
    // Called between any two batches of frames: usually nothing is due.
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

  /** Returns the time of the next `poll`. Other calls can change it. */
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

  #newId(local: string): number {
    for (;;) {
      const id = randomWord(this.#context);
      if (id === 0 || this.#connections.has(id | 0)) continue;
      if (this.#context.takeId(local, id)) return id;
    }
  }
}

function randomWord({ random }: Pick<LcceContext, "random">): number {
  const octets = random(4);
  return new DataView(octets.buffer, octets.byteOffset).getUint32(0);
}

function introduced(octets: Octets): number {
  return introductionOf(new DataView(octets.buffer, octets.byteOffset, octets.byteLength), 0);
}

function bytesOf(address: string): Uint8Array {
  return parseAddress(address) ?? new Uint8Array();
}

function peerKey(local: string, address: string): string {
  return `${local} from ${address}`;
}
