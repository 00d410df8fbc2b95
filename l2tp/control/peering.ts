/**
 * The signaling between us and one peer of a tunnel: the established connection, connections that are being set up or
 * closed, and the configured sessions.
 */
import { sameData } from "../same-data.ts";
import type { Attributes } from "./attributes.ts";
import { Backoff, type BackoffSettings } from "./backoff.ts";
import type { CircuitStatus } from "./circuit-status.ts";
import {
  type ConnectionEnvironment,
  type ConnectionSettings,
  ControlConnection,
  type PeerIdentity,
} from "./connection.ts";
import { describePseudowireTypes } from "./describe.ts";
import type { Octets } from "./octets.ts";
import { describeRemoteEndId } from "./remote-end-id.ts";
import { DisconnectResult, GeneralError, StopResult } from "./result-code.ts";
import {
  CALL_LOST,
  type ControlSession,
  type Ending,
  type EstablishedSession,
  type SessionConfig,
} from "./session.ts";
import type { Endpoint, TunnelControl } from "./settings.ts";
import { loopOf } from "./switching.ts";
import type { ResultCode } from "./value-formats.ts";

export interface PeeringConfig {
  /** Unique among the peerings of an endpoint. */
  readonly name: string;
  readonly mode: TunnelControl["mode"];
  /** Names the local endpoint that receives its datagrams. */
  readonly local: string;
  readonly remote: Endpoint;
  /** True if we initiate the connection. A peer's SCCRQ is always accepted. */
  readonly initiates: boolean;
  readonly connection: ConnectionSettings;
  readonly retry: BackoffSettings;
  /** The control connection IDs of a quiescent connection. */
  readonly tunnelId: number;
  readonly peerTunnelId: number;
}

/** Receives the events of a peering. */
export interface PeeringListener {
  up(name: string): void;
  down(name: string, ending: Ending): void;
  /** An attempt has failed, for another reason than before. */
  refused(name: string): void;
  /** The peer deviates from the RFC in a way that is tolerated. @param what a description */
  noted(name: string, what: string): void;
  sessionUp(name: string, session: EstablishedSession): void;
  peerCircuit(name: string, key: string, circuit: CircuitStatus): void;
  sessionDown(name: string, key: string, ending: Ending): void;
}

export interface PeeringContext extends Pick<ConnectionEnvironment, "random" | "newSessionId"> {
  transmit(config: PeeringConfig, remote: Endpoint, octets: Octets): void;
  /** Returns a free connection ID for the peering. */
  newId(config: PeeringConfig): number;
  forget(connection: ControlConnection, peering: Peering): void;
  remember(connection: ControlConnection, peering: Peering): void;
  readonly listener: PeeringListener;
}

/**
 * Limit of connections that the peer has requested and not confirmed. A new one replaces the oldest, so the peer must
 * confirm before this number of further requests is admitted (admission.ts), which takes at least 1.5 seconds.
 */
const MAX_HALF_OPEN = 32;
/** Plausible number of half-open connections of a real peer. More are forged, and do not prevent our own request. */
const PLAUSIBLE_HALF_OPEN = 2;
/** Limit of closed connections that wait for acknowledgement. */
const MAX_LINGERING = 8;
const TIE_LOST = "the peer's connection won the tie breaker";
/** Faults of messages in the peer's name. They are not sent to the peer, because the messages may be forged. */
const UNSIGNED = "are not signed with our shared secret";
const SIGNED = "are signed with a shared secret, but none is configured on this node";
const NOT_ACTIVE: CircuitStatus = { active: false, standby: false };

interface WantedSession {
  readonly config: SessionConfig;
  readonly backoff: Backoff;
  /** Time of the next request; Infinity: none. */
  retryAt: number;
  /** The last failure or end; null: none. */
  lastEnding: Ending | null;
}

export class Peering {
  readonly config: PeeringConfig;
  /** The established connection; null: none. */
  established: ControlConnection | null = null;
  /** Time of its establishment. */
  upSince = 0;
  /** Why no connection is established; null: no failure yet. */
  lastEnding: Ending | null = null;
  readonly #context: PeeringContext;
  readonly #connections = new Set<ControlConnection>();
  readonly #sessions = new Map<string, WantedSession>();
  readonly #circuits = new Map<string, CircuitStatus>();
  readonly #aggregators = new Map<string, readonly string[]>();
  readonly #backoff: Backoff;
  #openAt = Number.POSITIVE_INFINITY;
  #isClosing = false;
  /** Unauthenticated messages of connections that no longer exist. */
  #droppedUnauthenticated = 0;
  /** True if messages in the peer's name failed authentication since the last attempt. */
  #hasUnsigned = false;
  #now = 0;

  constructor(config: PeeringConfig, context: PeeringContext, now: number) {
    this.config = config;
    this.#context = context;
    this.#backoff = new Backoff(config.retry, context.random);
    if (config.initiates || config.mode === "Quiescent") this.#openAt = now;
    this.#now = now;
  }

  /** Number of messages that failed authentication. */
  get unauthenticated(): number {
    return this.connections.reduce(
      (sum, { counters }) => sum + counters.unauthenticated,
      this.#droppedUnauthenticated,
    );
  }

  get connections(): readonly ControlConnection[] {
    return [...this.#connections];
  }

  /** Configures a session. It is requested as soon as a connection is established. */
  putSession(config: SessionConfig, now: number): void {
    this.#now = now;
    const known = this.#sessions.get(config.key);
    if (known !== undefined && sameData(known.config, config)) return;
    if (known !== undefined) this.#closeSession(config.key, "the session configuration changed");
    const backoff = new Backoff(this.config.retry, this.#context.random);
    this.#sessions.set(config.key, { config, backoff, retryAt: now, lastEnding: null });
    this.poll(now);
  }

  deleteSession(key: string, now: number): void {
    this.#now = now;
    this.#sessions.delete(key);
    this.#circuits.delete(key);
    this.#aggregators.delete(key);
    this.#closeSession(key, "the session was deleted");
  }

  /** Returns our circuit status. */
  circuitOf(key: string): CircuitStatus {
    return this.#circuits.get(key) ?? NOT_ACTIVE;
  }

  setCircuit(key: string, circuit: CircuitStatus, now: number): void {
    this.#now = now;
    this.#circuits.set(key, circuit);
    this.established?.setCircuit(key, circuit, now);
  }

  /**
   * Sets the names of the switches that calls of the session pass. A call of ours without one of them is placed again;
   * a call of the peer that has passed one of them is a loop, and ends.
   */
  setAggregators(key: string, names: readonly string[], now: number): void {
    this.#now = now;
    this.#aggregators.set(key, names);
    const session = this.sessionOf(key);
    if (session === undefined) return;
    if (!session.role.endsWith("sender")) {
      // The partner's call has come after the peer's call.
      const loop = loopOf(names, session.peerAggregators);
      if (loop !== null) this.established?.closeSession(key, loop, now);
    } else if (!names.every((name) => session.aggregators.includes(name))) {
      this.#closeSession(key, "the switches on the path of the call have changed");
    }
  }

  /** Ends the session for the same reason as its partner. The call is placed again. */
  relayEnding(key: string, code: ResultCode, now: number): void {
    this.#now = now;
    if (this.sessionOf(key)?.phase !== "established") return;
    this.established?.closeSession(key, code, now);
  }

  sessionOf(key: string): ControlSession | undefined {
    return this.established?.sessionOf(key);
  }

  /** Returns the negotiated session; undefined: not established. */
  agreementOf(key: string): EstablishedSession | undefined {
    const session = this.sessionOf(key);
    return session?.phase === "established" ? session.established() : undefined;
  }

  /** Returns why the session is not established; null: it is, or no attempt has failed yet. */
  lastEndingOf(key: string): Ending | null {
    return this.#sessions.get(key)?.lastEnding ?? null;
  }

  /** Notes that the peer sent data at that time. */
  hear(at: number): void {
    this.established?.hear(at);
  }

  /** True if a datagram from that address to that local endpoint can belong to the peering. */
  isWith(local: string, from: Pick<Endpoint, "address">): boolean {
    return this.config.local === local && this.config.remote.address === from.address;
  }

  /** Returns the connection that the peer has requested with that ID. */
  begunBy(peerConnectionId: number | undefined): ControlConnection | undefined {
    if (peerConnectionId === undefined) return undefined;
    return this.connections.find(({ peer }) => peer.connectionId === peerConnectionId);
  }

  receive(connection: ControlConnection, from: Endpoint, octets: Octets, now: number): void {
    this.#now = now;
    const { unauthenticated } = connection.counters;
    connection.receive(from, octets, now);
    if (connection.counters.unauthenticated > unauthenticated) this.#noteUnsigned();
    if (connection.isOver(now)) this.#drop(connection);
  }

  /** Notes a failed authentication as the reason, while no connection is established. */
  #noteUnsigned(): void {
    if (this.established !== null) return;
    this.#hasUnsigned = true;
    this.#tell(this.#unsigned, false);
  }

  get #unsigned(): Ending {
    const hasSecret = this.config.connection.secrets.length > 0;
    const why = `the peer's messages ${hasSecret ? UNSIGNED : SIGNED}`;
    return { by: "us", why, result: StopResult.NotAuthorized };
  }

  /** Handles an SCCRQ that opens a new connection. Returns false if it is our own request, reflected. */
  receiveRequest(from: Endpoint, said: Attributes, octets: Octets, now: number): boolean {
    this.#now = now;
    if (this.config.mode === "Quiescent" || this.#isClosing) return false;
    if (this.#isOurs(said)) return false;
    this.#makeRoom("wait-ctl-conn", MAX_HALF_OPEN);
    this.#makeRoom("idle", MAX_LINGERING);
    const connection = this.#connect(this.#context.newId(this.config), from);
    connection.receive(from, octets, now);
    if (connection.counters.unauthenticated > 0) this.#noteUnsigned();
    // Not a valid SCCRQ, or not authenticated.
    if (!connection.hasBegun) this.#drop(connection);
    return true;
  }

  /** True if the request is our own, reflected. */
  #isOurs({ assignedConnectionId, tieBreaker }: Attributes): boolean {
    return this.connections.some(
      (connection) =>
        connection.localId === assignedConnectionId && connection.tieBreaker === tieBreaker,
    );
  }

  /** Drops the oldest connections in that state, so that one more fits. */
  #makeRoom(state: ControlConnection["state"], limit: number): void {
    const there = this.connections.filter((connection) => connection.state === state);
    for (const connection of there.slice(0, Math.max(0, there.length - limit + 1))) {
      // Dropped first, so that the end of a possibly forged connection is not reported.
      this.#drop(connection);
      connection.discard("replaced by newer requests", this.#now);
    }
  }

  /** Closes all connections; `isOver` is true when that is complete. @param why is also sent to the peer */
  close(why: string, now: number): void {
    this.#now = now;
    this.#isClosing = true;
    this.#openAt = Number.POSITIVE_INFINITY;
    for (const connection of this.connections) {
      if (this.config.mode === "Quiescent") connection.discard(why, now);
      else connection.close(why, StopResult.ShuttingDown, now);
    }
    this.poll(now);
  }

  get isOver(): boolean {
    return this.#isClosing && this.#connections.size === 0;
  }

  poll(now: number): void {
    this.#now = now;
    for (const connection of this.connections) {
      connection.poll(now);
      if (connection.isOver(now)) this.#drop(connection);
    }
    if (now >= this.#openAt) this.#open();
    if (this.established !== null) this.#placeCalls(this.established);
  }

  deadline(): number {
    let earliest = this.#openAt;
    for (const connection of this.#connections) {
      earliest = Math.min(earliest, connection.deadline());
    }
    if (this.established === null) return earliest;
    for (const { retryAt } of this.#sessions.values()) earliest = Math.min(earliest, retryAt);
    return earliest;
  }

  #open(): void {
    this.#openAt = Number.POSITIVE_INFINITY;
    // A connection that is being set up opens, or its end schedules a retry.
    if (this.#count("established") + this.#count("wait-ctl-reply") > 0) return;
    if (this.#count("wait-ctl-conn") > 0 && !this.#seesForgery) {
      this.#openAt = this.#now + this.config.retry.firstMs;
      return;
    }
    if (this.config.mode === "Quiescent") {
      const connection = this.#connect(this.config.tunnelId);
      connection.assumeEstablished(this.config.peerTunnelId, this.#now);
      return;
    }
    this.#connect(this.#context.newId(this.config)).open(this.#now);
  }

  #count(state: ControlConnection["state"]): number {
    return this.connections.filter((connection) => connection.state === state).length;
  }

  /** True if some requests in the peer's name must be forged. */
  get #seesForgery(): boolean {
    return this.#count("wait-ctl-conn") > PLAUSIBLE_HALF_OPEN;
  }

  #placeCalls(connection: ControlConnection): void {
    for (const wanted of this.#sessions.values()) {
      if (this.#now < wanted.retryAt) continue;
      wanted.retryAt = Number.POSITIVE_INFINITY;
      if (this.sessionOf(wanted.config.key) !== undefined) continue;
      const why = lackOf(connection.peer, wanted.config);
      if (why === null) connection.openSession(wanted.config, this.#now);
      else this.#refuseCall(wanted, why);
    }
  }

  #refuseCall(wanted: WantedSession, why: string): void {
    wanted.lastEnding = { by: "us", why, result: null };
    this.#context.listener.sessionDown(this.config.name, wanted.config.key, wanted.lastEnding);
  }

  #closeSession(key: string, why: string): void {
    const code = {
      result: DisconnectResult.Administrative,
      error: GeneralError.None,
      message: why,
    };
    this.established?.closeSession(key, code, this.#now);
  }

  #connect(id: number, remote: Endpoint = this.config.remote): ControlConnection {
    const { random, newSessionId, transmit, listener } = this.#context;
    const { name } = this.config;
    const connection = new ControlConnection(
      id,
      remote,
      this.config.connection,
      {
        random,
        newSessionId,
        transmit: (to, octets) => transmit(this.config, to, octets),
        match: (said) => this.#match(said),
        admit: (said) => this.#admit(said),
        circuit: (key) => this.#circuits.get(key) ?? NOT_ACTIVE,
        aggregators: (key) => this.#aggregators.get(key) ?? [],
      },
      {
        noted: (_, what) => listener.noted(name, what),
        opened: (it) => this.#opened(it),
        closed: (it, ending) => this.#closed(it, ending),
        sessionOpened: (_, session) => this.#sessionOpened(session),
        circuitChanged: (_, { config, peer }) =>
          listener.peerCircuit(name, config.key, peer.circuit),
        sessionClosed: (it, session, ending) => this.#sessionClosed(it, session, ending),
      },
      this.#now,
    );
    this.#connections.add(connection);
    this.#context.remember(connection, this);
    return connection;
  }

  #drop(connection: ControlConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.#droppedUnauthenticated += connection.counters.unauthenticated;
    this.#context.forget(connection, this);
  }

  /** Decides between simultaneous requests: the lower tie breaker wins (5.4.3). */
  #admit({ tieBreaker }: Attributes): ResultCode | null {
    const ours = this.connections.find(({ state }) => state === "wait-ctl-reply");
    if (ours === undefined) return null;
    const lost: ResultCode = {
      result: StopResult.AlreadyExists,
      error: GeneralError.None,
      message: "lost the tie breaker",
    };
    const mine = ours.tieBreaker ?? "";
    if (tieBreaker === undefined || mine < tieBreaker) return lost;
    // With forged requests, our request ends only when the peer confirms its own (#opened).
    if (mine === tieBreaker || !this.#seesForgery) ours.discard(TIE_LOST, this.#now);
    return mine === tieBreaker ? lost : null;
  }

  #match({ remoteEndId = "" }: Attributes): SessionConfig | ResultCode {
    for (const { config } of this.#sessions.values()) {
      if (config.remoteEndId === remoteEndId) return config;
    }
    const message = `no session with the Remote End ID ${describeRemoteEndId(remoteEndId)}`;
    return { result: DisconnectResult.NoFacilities, error: GeneralError.None, message };
  }

  #opened(connection: ControlConnection): void {
    this.established = connection;
    this.upSince = this.#now;
    this.#openAt = Number.POSITIVE_INFINITY;
    this.#backoff.succeeded();
    this.lastEnding = null;
    this.#hasUnsigned = false;
    // Older connections end: a restarted peer does not know them, and its old messages may still arrive.
    for (const other of this.connections) {
      if (other.state === "wait-ctl-reply") other.discard(TIE_LOST, this.#now);
    }
    for (const other of this.connections) {
      if (other === connection) break;
      other.close("replaced by a newer connection", StopResult.AlreadyExists, this.#now);
    }
    this.#context.listener.up(this.config.name);
    for (const wanted of this.#sessions.values()) wanted.retryAt = this.#now;
    this.#placeCalls(connection);
  }

  #closed(connection: ControlConnection, ending: Ending): void {
    if (!this.#connections.has(connection)) return;
    const wasOurs = connection === this.established;
    if (!wasOurs && this.established !== null) return;
    this.established = null;
    const isSilence = ending.by !== "peer" && this.#hasUnsigned && !wasOurs;
    this.#hasUnsigned = false;
    // The peer answers, but its messages fail authentication.
    if (isSilence) this.#tell(this.#unsigned, false);
    else if (wasOurs || !this.#isTie(connection, ending)) this.#tell(ending, wasOurs);
    if (this.#isClosing) return;
    if (this.config.initiates || this.config.mode === "Quiescent") {
      // Failed requests of the peer may be forged, and do not count as our failures.
      const isOurs = wasOurs || connection.tieBreaker !== null;
      const pause = isOurs ? this.#backoff.next() : this.config.retry.firstMs;
      this.#openAt = Math.min(this.#openAt, this.#now + pause);
    }
  }

  #tell(ending: Ending, wasOurs: boolean): void {
    const before = this.lastEnding;
    this.lastEnding = ending;
    if (wasOurs) this.#context.listener.down(this.config.name, ending);
    else if (before?.why !== ending.why) this.#context.listener.refused(this.config.name);
  }

  /** True if the connection only lost against a simultaneous one, which continues. */
  #isTie(connection: ControlConnection, { by, why, result }: Ending): boolean {
    if (why === TIE_LOST) return true;
    if (result !== StopResult.AlreadyExists) return false;
    const others = this.connections.filter((other) => other !== connection);
    return by === "us" || others.some(({ state }) => state !== "idle");
  }

  #sessionOpened(session: ControlSession): void {
    const wanted = this.#sessions.get(session.config.key);
    if (wanted !== undefined) {
      wanted.lastEnding = null;
      wanted.retryAt = Number.POSITIVE_INFINITY;
      wanted.backoff.succeeded();
    }
    this.#context.listener.sessionUp(this.config.name, session.established());
  }

  #sessionClosed(connection: ControlConnection, { config }: ControlSession, ending: Ending): void {
    const wanted = this.#sessions.get(config.key);
    // The end of a replaced connection is not a failure of the session.
    const isReplaced = this.established !== null && this.established !== connection;
    if (wanted?.config === config && !isReplaced) {
      if (ending.why !== CALL_LOST) wanted.lastEnding = ending;
      if (connection.state === "established") {
        wanted.retryAt = this.#now + wanted.backoff.next();
      }
    }
    this.#context.listener.sessionDown(this.config.name, config.key, ending);
  }
}

/**
 * Returns why the session cannot be requested: the peer's Pseudowire Capabilities List lacks the type (RFC 3931,
 * 5.4.3). null: it can. The peer's own requests are accepted, because a peer that sends one supports the type.
 */
function lackOf(
  { pseudowireTypes }: PeerIdentity,
  { pseudowireType }: SessionConfig,
): string | null {
  if (pseudowireTypes === null || pseudowireTypes.includes(pseudowireType)) return null;
  const theirs = describePseudowireTypes(pseudowireTypes) || "none";
  return `the peer does not support pseudowire type ${describePseudowireTypes([pseudowireType])}; its types: ${theirs}`;
}
