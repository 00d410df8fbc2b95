/**
 * Control connections of one thread's tunnels, beside its packet path: what the ends of a session agree on becomes
 * its configuration there, and what ends takes it away again. Control and data share a tunnel's socket.
 */
import { randomBytes } from "node:crypto";
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { Lcce } from "../../l2tp/control/lcce.ts";
import { concat, fromHex, type Octets } from "../../l2tp/control/octets.ts";
import type { Peering, PeeringConfig } from "../../l2tp/control/peering.ts";
import type { EstablishedSession, SessionConfig } from "../../l2tp/control/session.ts";
import { sameData } from "../../l2tp/difference.ts";
import type { Session, SessionControl, Tunnel, TunnelControl } from "../../l2tp/model.ts";
import type { Change, DevicePlace, SessionState, TunnelState } from "../datapath.ts";
import { decodeSockaddr, encodeSockaddr, type SocketAddress } from "../sys/socket.ts";
import type { Table } from "../tap/table.ts";
import { LocalEndpoint } from "../tap/tunnel.ts";
import type { SessionControlState, TunnelControlState } from "./state.ts";

/** In front of a control message over IP (RFC 3931, 4.1.1.2). */
const ZERO_SESSION_ID = new Uint8Array(4);
/** Of one round; who sends more sends it again. */
const MAX_INBOX = 256;
const MAX_LINES = 20;
const RECEIVE_WINDOW = 8;
/** Whatever is begun is to be established within that. */
const SETUP_MS = 30_000;
const RETRY = { firstMs: 1000, capMs: 30_000 };

/** A session that is signalled, as the agent has put it. */
type Wanted = Session & { readonly control: SessionControl };
/** A tunnel with a control connection. */
type Controlled = Tunnel & { readonly control: TunnelControl };

export class ControlPlane {
  readonly #table: Table;
  readonly #now: () => number;
  readonly #log: (line: string) => void;
  readonly #lcce: Lcce;
  readonly #tunnels = new Map<string, Controlled>();
  readonly #sessions = new Map<string, Wanted>();
  /** Who may send control messages, and where to: peerKey. */
  #peers: ReadonlySet<string> = new Set();
  readonly #inbox: {
    readonly local: string;
    readonly from: SocketAddress;
    readonly message: Octets;
  }[] = [];

  /** @param now milliseconds of a steady clock */
  constructor(table: Table, now: () => number, log: (line: string) => void) {
    this.#table = table;
    this.#log = once(log);
    this.#now = now;
    this.#lcce = new Lcce({
      random,
      newSessionId: () => this.#newSessionId(),
      transmit: ({ local }, remote, octets) => this.#transmit(local, remote, octets),
      listener: {
        up() {},
        down() {},
        sessionUp: (_, established) => this.#sessionUp(established),
        sessionDown: (_, key) => this.#sessionDown(key),
        peerCircuit: (_, key, circuit) => this.#table.setCarrier(key, isCarrying(circuit)),
      },
    });
  }

  /** @throws SystemError, ChangeError as the table does */
  apply(change: Change): void {
    switch (change.op) {
      case "putTunnel":
        return this.#putTunnel(change.tunnel);
      case "deleteTunnel":
        // The peer is told while there is a socket to tell it by.
        this.#forgetTunnel(change.name);
        return this.#table.apply(change);
      case "putSession":
        return this.#putSession(change.session, change.device);
      case "deleteSession":
        this.forgetSession(change.key);
        return this.#table.apply(change);
    }
  }

  /**
   * A control message came; `poll` takes it in, when the packet path has done with its batch.
   * @param octets from behind the UDP or IP header on
   * @returns false: no control connection here is with its sender
   */
  receive(endpoint: LocalEndpoint, sockaddr: Uint8Array, octets: Uint8Array): boolean {
    const from = decodeSockaddr(sockaddr);
    if (!this.#peers.has(peerKey(endpoint.key, from.address))) return false;
    if (this.#inbox.length >= MAX_INBOX) return true;
    const message = Uint8Array.from(endpoint.overUdp ? octets : octets.subarray(4));
    this.#inbox.push({ local: endpoint.key, from, message });
    return true;
  }

  /** When `poll` has something to do by itself. */
  deadline(): number {
    return this.#lcce.deadline();
  }

  poll(now: number): void {
    for (const { local, from, message } of this.#inbox.splice(0)) {
      try {
        this.#lcce.receive(local, from, message, now);
      } catch (error) {
        // Nothing a peer says may end the process; that it can is a bug of ours.
        this.#log(
          `a control message of ${from.address} cannot be handled: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
    if (now < this.#lcce.deadline()) return;
    // Frames are a sign of life, too.
    for (const { config, tunnel, lastReceivedMs } of this.#table.sessions.values()) {
      if (this.#sessions.has(config.key))
        this.#lcce.peeringOf(tunnel.config.name)?.hear(lastReceivedMs);
    }
    this.#lcce.poll(now);
  }

  /** Says farewell on all connections: the process ends. */
  close(): void {
    for (const name of [...this.#tunnels.keys()]) this.#lcce.delete(name, this.#now());
  }

  /** What the packet path says of a tunnel, and what this one adds. */
  describeTunnel(state: TunnelState): TunnelState {
    const peering = this.#lcce.peeringOf(state.tunnel.name);
    return peering === undefined
      ? state
      : { ...state, control: describePeering(peering, this.#now()) };
  }

  /** As the agent has put it; what was agreed on is beside it. */
  describeSession(state: SessionState): SessionState {
    const wanted = this.#sessions.get(state.session.key);
    if (wanted === undefined) return state;
    return { ...state, session: wanted, receiving: true, control: this.#describeControl(wanted) };
  }

  #describeControl({ key, tunnel }: Session): SessionControlState {
    const peering = this.#lcce.peeringOf(tunnel);
    const session = peering?.sessionOf(key);
    return {
      phase: session?.phase ?? "idle",
      established: session?.phase === "established" ? session.established() : null,
      lastEnding: peering?.lastEndingOf(key) ?? null,
    };
  }

  #putTunnel(tunnel: Tunnel): void {
    this.#table.apply({ op: "putTunnel", tunnel });
    if (!hasControl(tunnel)) return this.#forgetTunnel(tunnel.name);
    if (sameData(this.#tunnels.get(tunnel.name), tunnel)) return;
    this.#tunnels.set(tunnel.name, tunnel);
    this.#notePeers();
    const peering = this.#lcce.put(peeringConfig(tunnel), this.#now());
    for (const wanted of this.#sessions.values()) {
      if (wanted.tunnel === tunnel.name) this.#want(peering, wanted);
    }
  }

  #notePeers(): void {
    this.#peers = new Set(
      Array.from(this.#tunnels.values(), (tunnel) =>
        peerKey(LocalEndpoint.keyOf(tunnel), tunnel.remote.address),
      ),
    );
  }

  #forgetTunnel(name: string): void {
    if (!this.#tunnels.delete(name)) return;
    this.#notePeers();
    // First: what ends with the connection is not to be put again.
    for (const [key, { tunnel }] of this.#sessions) {
      if (tunnel === name) this.#sessions.delete(key);
    }
    this.#lcce.delete(name, this.#now());
  }

  #putSession(session: Session, device: DevicePlace | "keep" | null): void {
    if (!isSignalled(session)) {
      this.forgetSession(session.key);
      this.#table.apply({ op: "putSession", session, device });
      return this.#table.setCarrier(session.key, true);
    }
    const established = this.#established(session);
    const config = established === undefined ? dormant(session) : agreed(session, established);
    this.#table.apply({ op: "putSession", session: config, device });
    if (established === undefined) this.#table.setCarrier(session.key, false);
    const before = this.#sessions.get(session.key);
    // First: what ends in the tunnel before is not to be put again there.
    this.#sessions.set(session.key, session);
    if (before !== undefined && before.tunnel !== session.tunnel) {
      this.#lcce.peeringOf(before.tunnel)?.deleteSession(session.key, this.#now());
    }
    const peering = this.#lcce.peeringOf(session.tunnel);
    if (peering !== undefined) this.#want(peering, session);
  }

  #want(peering: Peering, wanted: Wanted): void {
    peering.setCircuit(wanted.key, wanted.control.circuit, this.#now());
    peering.putSession(sessionConfig(wanted), this.#now());
  }

  /** The session goes to another thread; the peer is told that this one is over. */
  forgetSession(key: string): void {
    const known = this.#sessions.get(key);
    if (known === undefined) return;
    this.#sessions.delete(key);
    this.#lcce.peeringOf(known.tunnel)?.deleteSession(key, this.#now());
  }

  #established({ key, tunnel }: Session): EstablishedSession | undefined {
    const session = this.#lcce.peeringOf(tunnel)?.sessionOf(key);
    return session?.phase === "established" ? session.established() : undefined;
  }

  #sessionUp(established: EstablishedSession): void {
    const wanted = this.#sessions.get(established.key);
    if (wanted === undefined) return;
    const session = agreed(wanted, established);
    this.#table.apply({ op: "putSession", session, device: "keep" });
    this.#table.setCarrier(established.key, isCarrying(established.peerCircuit));
  }

  #sessionDown(key: string): void {
    const wanted = this.#sessions.get(key);
    // Another of that key may have been established before this one was through.
    if (wanted === undefined || this.#established(wanted) !== undefined) return;
    this.#table.setCarrier(key, false);
    this.#table.apply({ op: "putSession", session: dormant(wanted), device: "keep" });
  }

  #transmit(local: string, remote: SocketAddress, octets: Octets): void {
    const endpoint = this.#table.endpoints.get(local);
    if (endpoint === undefined) return;
    const datagram = endpoint.overUdp ? octets : concat(ZERO_SESSION_ID, octets);
    // What does not go out is as good as lost on the way: it is sent again.
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

function peerKey(local: string, address: string): string {
  return `${local} from ${address}`;
}

function hasControl(tunnel: Tunnel): tunnel is Controlled {
  return tunnel.control !== undefined;
}

function isSignalled(session: Session): session is Wanted {
  return session.control !== undefined;
}

/** A few lines, each once: whoever provokes them can do so again and again. */
function once(log: (line: string) => void): (line: string) => void {
  const said = new Set<string>();
  return (line) => {
    if (said.has(line) || said.size >= MAX_LINES) return;
    said.add(line);
    log(line);
  };
}

function random(count: number): Octets {
  return Uint8Array.from(randomBytes(count));
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

function sessionConfig({ control, ...session }: Wanted): SessionConfig {
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

function peeringConfig({ control, ...tunnel }: Controlled): PeeringConfig {
  const { retransmitMs, retransmitCapMs, maxRetransmits } = control;
  return {
    name: tunnel.name,
    mode: control.mode,
    local: LocalEndpoint.keyOf(tunnel),
    remote: tunnel.remote,
    initiates: control.initiates,
    connection: {
      hostName: control.hostName,
      routerId: control.routerId,
      pseudowireTypes: PSEUDOWIRE_TYPES,
      secrets: control.secrets.map(fromHex),
      digest: control.digest,
      hidesValues: control.hidesValues,
      delivery: { receiveWindow: RECEIVE_WINDOW, retransmitMs, retransmitCapMs, maxRetransmits },
      helloMs: control.helloMs,
      deadAfterMs: control.deadAfterMs ?? Number.POSITIVE_INFINITY,
      setupMs: SETUP_MS,
    },
    retry: RETRY,
    tunnelId: tunnel.tunnelId,
    peerTunnelId: tunnel.peerTunnelId,
  };
}

/** Ethernet VLAN and Ethernet (RFC 4719). */
const PSEUDOWIRE_TYPES = [4, 5];

function describePeering(peering: Peering, now: number): TunnelControlState {
  const { established, config, connections, lastEnding } = peering;
  const connection = established ?? connections.find(({ state }) => state !== "idle");
  const delivery = connection?.describeDelivery();
  return {
    mode: config.mode,
    state:
      established === null && connection?.state === "established"
        ? "idle"
        : (connection?.state ?? "idle"),
    localConnectionId: connection?.localId ?? 0,
    peerConnectionId: connection?.peer.connectionId ?? 0,
    peerHostName: connection?.peer.hostName ?? null,
    peerRouterId: connection?.peer.routerId ?? null,
    peerVendorName: connection?.peer.vendorName ?? null,
    heardMsAgo: established === null ? null : Math.round(now - established.heardAt),
    lastEnding,
    window: delivery?.window ?? 0,
    peerWindow: delivery?.peerWindow ?? 0,
    unacknowledged: delivery?.unacknowledged ?? 0,
    sent: delivery?.sent ?? 0,
    received: delivery?.received ?? 0,
    retransmitted: delivery?.retransmitted ?? 0,
    unauthenticated: connections.reduce((sum, { counters }) => sum + counters.unauthenticated, 0),
  };
}
