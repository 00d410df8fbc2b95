/**
 * Control connections of managed tunnels. They configure the packet path with the negotiated values of a session, and
 * clear them when the session ends. Control and data messages share a tunnel's socket.
 */
import { randomBytes } from "node:crypto";
import { isCarrying } from "../../../l2tp/control/circuit-status.ts";
import { Deadlines } from "../../../l2tp/control/deadlines.ts";
import { choosePath, viewPath } from "../../../l2tp/control/failover.ts";
import { Lcce, type PeerAddress } from "../../../l2tp/control/lcce.ts";
import { concat, type Octets } from "../../../l2tp/control/octets.ts";
import type { Peering, PeeringConfig } from "../../../l2tp/control/peering.ts";
import type { EstablishedSession } from "../../../l2tp/control/session.ts";
import { sameData } from "../../../l2tp/same-data.ts";
import {
  AF_INET6,
  decodeSockaddr,
  encodeSockaddr,
  type SocketAddress,
} from "../../../linux/socket.ts";
import { carried } from "../../../model/carried.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireCapabilities } from "../../../model/pseudowires/index.ts";
import type { SessionControlState } from "../../control-state.ts";
import type { Change, DevicePlace, SessionState, TunnelState } from "../../datapath.ts";
import { traitsOf } from "../../registry/datapaths.ts";
import type { PacketBytes } from "../packet/receive.ts";
import type { LocalEndpoint } from "../packet/session.ts";
import type { Table } from "../packet/table.ts";
import { ALL_IDS, type ConnectionIds } from "./connection-ids.ts";
import { describeTunnel } from "./describe.ts";
import { HeapRelease } from "./heap-release.ts";
import { Inbox } from "./inbox.ts";
import { hasControl, ManagedTunnel } from "./managed-tunnel.ts";
import { isSignalled, type SignalledSession, sessionConfig } from "./signalled-session.ts";
import { objectOf, type Partner, relayedCircuit, Switching } from "./switching.ts";

/** The zero session ID in front of a control message over IP (RFC 3931, 4.1.1.2). */
const ZERO_SESSION_ID = new Uint8Array(4);
/** The maximum in one round, so that frames are not delayed longer. */
const MAX_MESSAGES_A_ROUND = 8;
const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
/** Offsets of the address in a struct sockaddr_in and sockaddr_in6. */
const INET_ADDRESS_AT = 4;
const INET6_ADDRESS_AT = 8;
const MAX_LINES = 20;

interface Incoming {
  /** The key of the receiving endpoint. */
  readonly local: string;
  readonly from: SocketAddress;
  readonly message: Octets;
}

export class ControlPlane {
  /** The number of changes of control connections and sessions in their described state. */
  turns = 0;
  readonly #table: Table;
  readonly #now: () => number;
  readonly #log: (line: string) => void;
  /** A separate limit for lapses of peers, so that a peer cannot suppress other lines. */
  readonly #logLapse: (line: string) => void;
  readonly #lcce: Lcce;
  readonly #tunnels = new Map<string, ManagedTunnel>();
  /** The tunnel of each peering, by the peering's name. */
  readonly #owners = new Map<string, ManagedTunnel>();
  /** Tunnels whose remotes may have changed since the active remote was last chosen. */
  readonly #turnedTunnels = new Set<ManagedTunnel>();
  /** Tunnels with a better remote that must be up for some more time before failback. */
  readonly #held = new Deadlines<ManagedTunnel>();
  /** Keys of sessions whose negotiated values may not be in the table yet. */
  readonly #turnedSessions = new Set<string>();
  readonly #sessions = new Map<string, SignalledSession>();
  readonly #inbox = new Inbox<PeerAddress, Incoming>();
  readonly #heapRelease = new HeapRelease();
  readonly #switching = new Switching();
  /** Switched sessions by the name of their object, whichever datapath forwards their frames. */
  readonly #switched = new Map<string, SignalledSession>();

  /** @param now returns milliseconds of a monotonic clock */
  constructor(
    table: Table,
    now: () => number,
    log: (line: string) => void,
    ids: ConnectionIds = ALL_IDS,
  ) {
    this.#table = table;
    this.#log = once(log);
    this.#logLapse = once(log);
    this.#now = now;
    this.#lcce = new Lcce({
      random,
      newSessionId: () => this.#newSessionId(),
      heardAt: (peering) => this.#heardAt(peering),
      takeId: (local, id) => {
        const endpoint = table.endpoints.get(local);
        return endpoint === undefined || ids.take(endpoint, id);
      },
      releaseId: (local, id) => {
        const endpoint = table.endpoints.get(local);
        if (endpoint !== undefined) ids.release(endpoint, id);
      },
      transmit: ({ local }, remote, octets) => this.#transmit(local, remote, octets),
      listener: {
        up: (peering) => this.#turned(peering),
        down: (peering) => this.#turned(peering),
        refused: (peering) => this.#turned(peering),
        noted: (peering, what) => this.#note(peering, what),
        sessionUp: (peering, { key }) => {
          this.#switching.established(peering, key);
          this.#turned(peering, key);
        },
        sessionDown: (peering, key, ending) => {
          const isActive = this.#owners.get(peering)?.activeName === peering;
          this.#switching.ended(peering, key, ending, isActive);
          this.#turned(peering, key);
        },
        peerCircuit: (peering, key) => this.#turned(peering, key),
      },
    });
  }

  /** @throws SystemError, ChangeError as the table does */
  apply(change: Change): void {
    this.#apply(change);
    this.#settle();
  }

  #apply(change: Change): void {
    switch (change.op) {
      case "putTunnel":
        return this.#putTunnel(change.tunnel);
      case "deleteTunnel":
        // Inform the peer before the socket is closed.
        this.#forgetTunnel(change.name);
        return this.#table.apply(change);
      case "putSession":
        return this.#putSession(change.session, change.device);
      case "deleteSession":
        this.#forgetSession(change.key);
        return this.#table.apply(change);
      case "deleteDevice":
        return this.#table.apply(change);
    }
  }

  /**
   * Queues a received control message. `poll` processes it after the packet path's batch. Dropping a message does not
   * allocate.
   * @param at start of the message in `memory`, after the UDP or IP header; it ends at `end`
   * @returns false: no control connection with the sender
   */
  receive(
    { key, overUdp, counters }: LocalEndpoint,
    sockaddr: Uint8Array,
    { bytes, view }: PacketBytes,
    at: number,
    end: number,
    now: number,
  ): boolean {
    const isIpv6 = sockaddr[0] === AF_INET6;
    const address = isIpv6 ? INET6_ADDRESS_AT : INET_ADDRESS_AT;
    const length = isIpv6 ? IPV6_BYTES : IPV4_BYTES;
    const peer = this.#lcce.peerAt(key, sockaddr, address, length);
    if (peer === undefined) return false;
    this.#heapRelease.note(now);
    const begin = overUdp ? at : at + ZERO_SESSION_ID.length;
    if (!this.#inbox.hasRoom(peer)) peer.budget.dropped++;
    else if (this.#lcce.admits(peer, view, begin, end, now)) {
      const from = decodeSockaddr(sockaddr);
      this.#inbox.put(peer, { local: key, from, message: bytes.slice(begin, end) });
      return true;
    }
    counters.rxControlDropped++;
    return true;
  }

  /** Returns the time at which `poll` must be called. */
  deadline(): number {
    if (!this.#inbox.isEmpty) return Number.NEGATIVE_INFINITY;
    return Math.min(this.#lcce.deadline(), this.#held.earliest, this.#heapRelease.deadline);
  }

  poll(now: number): void {
    // Called between batches of frames: usually nothing is due.
    if (now < this.deadline()) return;
    for (let count = 0; count < MAX_MESSAGES_A_ROUND; count++) {
      const incoming = this.#inbox.take();
      if (incoming === undefined) break;
      this.#handle(incoming, now);
    }
    this.#lcce.poll(now);
    this.#heapRelease.poll(now);
    while (this.#held.earliest <= now) {
      const held = this.#held.first as ManagedTunnel;
      this.#held.delete(held);
      this.#turnedTunnels.add(held);
    }
    this.#settle();
  }

  #handle({ local, from, message }: Incoming, now: number): void {
    try {
      this.#lcce.receive(local, from, message, now);
    } catch (error) {
      // A message must never end the process.
      const why = error instanceof Error ? error.message : String(error);
      this.#log(`bug: failed to process a control message from ${from.address}: ${why}`);
    }
  }

  /** Closes all connections: the process exits. */
  close(): void {
    for (const name of this.#owners.keys()) this.#lcce.delete(name, this.#now());
  }

  /** Logs a protocol violation of a peer that ends nothing. */
  #note(peering: string, what: string): void {
    const tunnel = this.#owners.get(peering)?.config.name ?? peering;
    this.#logLapse(`tunnel ${tunnel}: ${what}`);
  }

  /** Adds the control connection to the packet path's description of a tunnel. */
  describeTunnel(state: TunnelState): TunnelState {
    const managed = this.#tunnels.get(state.tunnel.name);
    if (managed === undefined) return state;
    const dropped = managed.peerings.reduce((sum, each) => sum + this.#lcce.droppedOf(each), 0);
    const control = describeTunnel(managed, this.#peeringsOf(managed), dropped, this.#now());
    return { ...state, tunnel: managed.config, control };
  }

  /** Describes a session as the agent has put it, with the negotiated values in `control`. */
  describeSession(state: SessionState): SessionState {
    const wanted = this.#sessions.get(state.session.key);
    if (wanted === undefined) return state;
    return { ...state, session: wanted, receiving: true, control: this.#describeControl(wanted) };
  }

  #describeControl(wanted: SignalledSession): SessionControlState {
    const peering = this.#carrying(wanted);
    return {
      phase: peering?.sessionOf(wanted.key)?.phase ?? "idle",
      established: peering?.agreementOf(wanted.key) ?? null,
      lastEnding: peering?.lastEndingOf(wanted.key) ?? null,
    };
  }

  /** Returns the peerings of a tunnel, in order of preference. */
  #peeringsOf({ peerings }: ManagedTunnel): Peering[] {
    return peerings.map(({ name }) => this.#lcce.peeringOf(name) as Peering);
  }

  /** Returns the peering of the tunnel's active remote; undefined: the tunnel has no control connection. */
  #carrying({ tunnel }: SignalledSession): Peering | undefined {
    const managed = this.#tunnels.get(tunnel);
    return managed === undefined ? undefined : this.#lcce.peeringOf(managed.activeName);
  }

  #putTunnel(tunnel: Tunnel): void {
    if (!hasControl(tunnel)) {
      this.#table.apply({ op: "putTunnel", tunnel });
      return this.#forgetTunnel(tunnel.name);
    }
    const known = this.#tunnels.get(tunnel.name);
    const traits = traitsOf(tunnel.socketOwner ?? tunnel.datapath);
    const types = pseudowireCapabilities((type) => traits.whyNotPseudowire(type) === null);
    const managed = new ManagedTunnel(tunnel, types, known);
    this.#table.apply({ op: "putTunnel", tunnel: managed.carried });
    if (sameData(known?.config, tunnel)) return;
    this.#tunnels.set(tunnel.name, managed);
    if (known !== undefined) this.#forgetTurns(known);
    for (const { name } of managed.peerings) this.#owners.set(name, managed);
    for (const { name } of known?.peerings ?? []) {
      if (this.#owners.get(name) === known) this.#endPeering(name);
    }
    for (const config of managed.peerings) this.#putPeering(config);
    for (const wanted of this.#wantedOf(tunnel.name)) {
      this.#want(managed, wanted);
      // It may have been established with a remote that was removed.
      this.#turnedSessions.add(wanted.key);
    }
    this.#turnedTunnels.add(managed);
  }

  /** Starts a peering. An unchanged one continues. */
  #putPeering(config: PeeringConfig): void {
    const known = this.#lcce.peeringOf(config.name);
    if (!sameData(known?.config, config)) this.#lcce.put(config, this.#now());
  }

  #endPeering(name: string): void {
    this.#owners.delete(name);
    this.#lcce.delete(name, this.#now());
  }

  #wantedOf(tunnel: string): SignalledSession[] {
    const known = [...(this.#table.tunnels.get(tunnel)?.sessions ?? [])];
    return known.flatMap(({ config }) => this.#sessions.get(config.key) ?? []);
  }

  /** Returns when the last frame of the peering's tunnel was received: frames show that the peer is up, too. */
  #heardAt(peering: string): number {
    const managed = this.#owners.get(peering);
    if (managed?.activeName !== peering) return Number.NEGATIVE_INFINITY;
    let latest = Number.NEGATIVE_INFINITY;
    for (const session of this.#table.tunnels.get(managed.config.name)?.sessions ?? []) {
      latest = Math.max(latest, this.#table.lastHeardMs(session, this.#now()));
    }
    return latest;
  }

  #forgetTunnel(name: string): void {
    const known = this.#tunnels.get(name);
    if (known === undefined) return;
    this.#tunnels.delete(name);
    this.#forgetTurns(known);
    // First, so that sessions that end with the connection are not put again.
    for (const wanted of this.#wantedOf(name)) this.#forgetWanted(wanted);
    for (const peering of known.peerings) this.#endPeering(peering.name);
  }

  #forgetTurns(managed: ManagedTunnel): void {
    this.#turnedTunnels.delete(managed);
    this.#held.delete(managed);
  }

  #putSession(session: Session, device: DevicePlace | "keep" | null): void {
    if (!isSignalled(session)) {
      this.#forgetSession(session.key);
      this.#table.apply({ op: "putSession", session, device });
      return this.#table.setCarrier(session.key, true);
    }
    const established = this.#established(session);
    this.#table.apply({ op: "putSession", session: carried(session, established), device });
    if (established === undefined) this.#table.setCarrier(session.key, false);
    const before = this.#sessions.get(session.key);
    // First, so that the session's end in the old tunnel does not put it there again.
    if (before !== undefined) this.#forgetWanted(before);
    this.#sessions.set(session.key, session);
    if (session.switchTo !== undefined) this.#switched.set(objectOf(session.key), session);
    if (before !== undefined && before.tunnel !== session.tunnel) this.#unwant(before);
    const managed = this.#tunnels.get(session.tunnel);
    if (managed !== undefined) this.#want(managed, session);
    this.#relay(session);
  }

  #want(managed: ManagedTunnel, wanted: SignalledSession): void {
    this.#setCircuits(managed, wanted);
    this.#setAggregators(managed, wanted);
    for (const peering of this.#peeringsOf(managed)) {
      peering.putSession(sessionConfig(wanted), this.#now());
    }
  }

  #unwant({ key, tunnel }: SignalledSession): void {
    const managed = this.#tunnels.get(tunnel);
    for (const peering of managed === undefined ? [] : this.#peeringsOf(managed)) {
      peering.deleteSession(key, this.#now());
    }
  }

  /** Sets the circuit's status on all remotes: standby on all except the active one (RFC 5641, 3.1). */
  #setCircuits(managed: ManagedTunnel, wanted: SignalledSession): void {
    const { key } = wanted;
    const circuit = relayedCircuit(wanted, this.#carryingPartner(wanted));
    for (const [index, peering] of this.#peeringsOf(managed).entries()) {
      const status = { ...circuit, standby: circuit.standby || index !== managed.active };
      peering.setCircuit(key, status, this.#now());
    }
  }

  #setAggregators(managed: ManagedTunnel, wanted: SignalledSession): void {
    const { hostName } = managed.config.control;
    const names = this.#switching.aggregators(hostName, wanted, this.#carryingPartner(wanted));
    for (const peering of this.#peeringsOf(managed)) {
      peering.setAggregators(wanted.key, names, this.#now());
    }
  }

  /** Returns the signaled session that is the session's partner: each is switched to the other. */
  #partnerOf({ key, switchTo }: Session): SignalledSession | undefined {
    const partner = switchTo === undefined ? undefined : this.#switched.get(switchTo);
    return partner?.switchTo === objectOf(key) ? partner : undefined;
  }

  #carryingPartner(wanted: SignalledSession): Partner | undefined {
    const partner = this.#partnerOf(wanted);
    const peering = partner === undefined ? undefined : this.#carrying(partner);
    return partner && peering && { key: partner.key, peering };
  }

  /** Signals a session's changed status to the peer of the session's partner. */
  #relay(session: Session): void {
    const partner = this.#partnerOf(session);
    const managed = partner === undefined ? undefined : this.#tunnels.get(partner.tunnel);
    if (partner === undefined || managed === undefined) return;
    this.#setCircuits(managed, partner);
    this.#setAggregators(managed, partner);
  }

  #relayEndings(): void {
    for (const { key, code } of this.#switching.takeEndings()) {
      const known = this.#sessions.get(key);
      const partner = known === undefined ? undefined : this.#partnerOf(known);
      const peering = partner === undefined ? undefined : this.#carrying(partner);
      if (partner !== undefined) peering?.relayEnding(partner.key, code, this.#now());
    }
  }

  /** Ends the session with the peer. */
  #forgetSession(key: string): void {
    const known = this.#sessions.get(key);
    if (known === undefined) return;
    this.#forgetWanted(known);
    this.#unwant(known);
  }

  #forgetWanted(wanted: SignalledSession): void {
    this.#sessions.delete(wanted.key);
    const object = objectOf(wanted.key);
    if (this.#switched.get(object) === wanted) this.#switched.delete(object);
  }

  /** Returns the negotiated values; undefined: not established, or another datapath forwards the frames. */
  #established(wanted: SignalledSession): EstablishedSession | undefined {
    if (this.#tunnels.get(wanted.tunnel)?.config.socketOwner !== undefined) return undefined;
    return this.#carrying(wanted)?.agreementOf(wanted.key);
  }

  /** Records a change of one of a tunnel's remotes, or of a session with it. */
  #turned(peering: string, key?: string): void {
    this.turns++;
    const managed = this.#owners.get(peering);
    const isSettled = managed?.peerings.length === 1 && managed.config.ecn === undefined;
    if (managed !== undefined && !isSettled) this.#turnedTunnels.add(managed);
    if (key !== undefined) this.#turnedSessions.add(key);
  }

  /** Applies recorded changes, after all others: a pod's carrier stays on if a backup takes over immediately. */
  #settle(): void {
    this.#relayEndings();
    for (const managed of this.#turnedTunnels) {
      this.#turnedTunnels.delete(managed);
      this.#settleTunnel(managed);
    }
    for (const key of this.#turnedSessions) {
      this.#turnedSessions.delete(key);
      const wanted = this.#sessions.get(key);
      if (wanted !== undefined) this.#settleSession(wanted);
    }
  }

  #settleTunnel(managed: ManagedTunnel): void {
    const { holdMs } = managed;
    const wanted = this.#wantedOf(managed.config.name);
    const keys = wanted.map(({ key }) => key);
    const paths = this.#peeringsOf(managed).map((peering, index) =>
      viewPath(peering, keys, index === managed.active, this.#now()),
    );
    const active = choosePath(paths, managed.active, holdMs);
    // Choose again when a better remote has been up for the hold time.
    const better = paths.slice(0, active).filter(({ isUp, upMs }) => isUp && upMs < holdMs);
    const waits = better.map(({ upMs }) => holdMs - upMs);
    this.#held.set(managed, this.#now() + Math.min(...waits));
    const usesEcn = this.#peeringsOf(managed)[active]?.established?.peer.propagatesEcn === true;
    if (active === managed.active) {
      if (managed.usesEcn === usesEcn) return;
      managed.usesEcn = usesEcn;
      return this.#table.apply({ op: "putTunnel", tunnel: managed.carried });
    }
    managed.active = active;
    managed.usesEcn = usesEcn;
    this.#table.apply({ op: "putTunnel", tunnel: managed.carried });
    for (const session of wanted) {
      this.#setCircuits(managed, session);
      this.#turnedSessions.add(session.key);
    }
  }

  #settleSession(wanted: SignalledSession): void {
    const established = this.#established(wanted);
    const session = carried(wanted, established);
    const isOn = established !== undefined && isCarrying(established.peerCircuit);
    if (!isOn) this.#table.setCarrier(wanted.key, false);
    if (!sameData(this.#table.sessions.get(wanted.key)?.config, session)) {
      this.#table.apply({ op: "putSession", session, device: "keep" });
    }
    if (isOn) this.#table.setCarrier(wanted.key, true);
    this.#relay(wanted);
  }

  #transmit(local: string, remote: SocketAddress, octets: Octets): void {
    const endpoint = this.#table.endpoints.get(local);
    if (endpoint === undefined) return;
    const datagram = endpoint.overUdp ? octets : concat(ZERO_SESSION_ID, octets);
    // A message that cannot be sent is retransmitted like a lost one.
    endpoint.socket.sendTo(datagram, encodeSockaddr(remote));
  }

  #newSessionId(): number {
    for (;;) {
      const id = randomBytes(4).readUInt32BE();
      const isTaken = [...this.#table.endpoints.values()].some(
        (endpoint) => endpoint.sessionOf(id) !== undefined,
      );
      if (id !== 0 && !isTaken) return id;
    }
  }
}

/** Logs each distinct line once, and at most MAX_LINES: peers can cause these lines any number of times. */
function once(log: (line: string) => void): (line: string) => void {
  const logged = new Set<string>();
  return (line) => {
    if (logged.has(line) || logged.size >= MAX_LINES) return;
    logged.add(line);
    log(line);
  };
}

function random(count: number): Octets {
  return Uint8Array.from(randomBytes(count));
}
