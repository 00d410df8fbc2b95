/**
 * All that goes on between us and one peer of a tunnel: the connection that counts, those that are begun or are
 * ending, and the sessions that are wanted, for as long as they are.
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
import type { ResultCode } from "./value-formats.ts";

export interface PeeringConfig {
  /** Unique among the peerings of an endpoint. */
  readonly name: string;
  readonly mode: TunnelControl["mode"];
  /** Names the local endpoint where its datagrams come. */
  readonly local: string;
  readonly remote: Endpoint;
  /** Whether we begin; a peer's SCCRQ is welcome anyway. */
  readonly initiates: boolean;
  readonly connection: ConnectionSettings;
  readonly retry: BackoffSettings;
  /** The ids of a quiescent connection. */
  readonly tunnelId: number;
  readonly peerTunnelId: number;
}

/** What happens to a peering, for its owner. */
export interface PeeringListener {
  up(name: string): void;
  down(name: string, ending: Ending): void;
  /** It has not come up, for another reason than the last time. */
  refused(name: string): void;
  /** The peer does something otherwise than it should, and nothing ends for it: in words. */
  noted(name: string, what: string): void;
  sessionUp(name: string, session: EstablishedSession): void;
  peerCircuit(name: string, key: string, circuit: CircuitStatus): void;
  sessionDown(name: string, key: string, ending: Ending): void;
}

export interface PeeringContext extends Pick<ConnectionEnvironment, "random" | "newSessionId"> {
  transmit(config: PeeringConfig, remote: Endpoint, octets: Octets): void;
  /** An id that no connection has, for one of the peering. */
  newId(config: PeeringConfig): number;
  forget(connection: ControlConnection, peering: Peering): void;
  remember(connection: ControlConnection, peering: Peering): void;
  readonly listener: PeeringListener;
}

/**
 * Begun by the peer, and not confirmed by it. The oldest makes room for one more, so the peer must
 * confirm before so many requests were admitted (admission.ts): that takes a second and a half at
 * least.
 */
const MAX_HALF_OPEN = 32;
/** A peer has no more half-open than these; others are forged, and do not keep us from opening. */
const PLAUSIBLE_HALF_OPEN = 2;
/** Over, and not yet acknowledged. */
const MAX_LINGERING = 8;
const TIE_LOST = "the peer's connection has won";
/** Said of the peer's messages; the peer is not told, as anybody may have sent them. */
const UNSIGNED = "are not signed with our shared secret";
const SIGNED = "are signed with a shared secret, and none is configured at this end";
const NOT_ACTIVE: CircuitStatus = { active: false, standby: false };

interface WantedSession {
  readonly config: SessionConfig;
  readonly backoff: Backoff;
  /** When its call is placed again; Infinity: it is not. */
  retryAt: number;
  /** Why it was not established the last time, or is no longer. */
  lastEnding: Ending | null;
}

export class Peering {
  readonly config: PeeringConfig;
  /** The one that carries sessions; null: none is established. */
  established: ControlConnection | null = null;
  /** When that one was established. */
  upSince = 0;
  /** Why there is none any more, or not yet. */
  lastEnding: Ending | null = null;
  readonly #context: PeeringContext;
  readonly #connections = new Set<ControlConnection>();
  readonly #sessions = new Map<string, WantedSession>();
  readonly #circuits = new Map<string, CircuitStatus>();
  readonly #aggregators = new Map<string, readonly string[]>();
  readonly #backoff: Backoff;
  #openAt = Number.POSITIVE_INFINITY;
  #isClosing = false;
  /** Of connections that are no more. */
  #droppedUnauthenticated = 0;
  /** Since the last attempt, messages in the peer's name were not signed as they must be. */
  #hasUnsigned = false;
  #now = 0;

  constructor(config: PeeringConfig, context: PeeringContext, now: number) {
    this.config = config;
    this.#context = context;
    this.#backoff = new Backoff(config.retry, context.random);
    if (config.initiates || config.mode === "Quiescent") this.#openAt = now;
    this.#now = now;
  }

  /** Messages that were not signed as they must be. */
  get unauthenticated(): number {
    return this.connections.reduce(
      (sum, { counters }) => sum + counters.unauthenticated,
      this.#droppedUnauthenticated,
    );
  }

  get connections(): readonly ControlConnection[] {
    return [...this.#connections];
  }

  /** Forgotten sessions end; new ones begin as soon as there is a connection. */
  putSession(config: SessionConfig, now: number): void {
    this.#now = now;
    const known = this.#sessions.get(config.key);
    if (known !== undefined && sameData(known.config, config)) return;
    if (known !== undefined) this.#closeSession(config.key, "its configuration has changed");
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

  /** Ours, as it was set last. */
  circuitOf(key: string): CircuitStatus {
    return this.#circuits.get(key) ?? NOT_ACTIVE;
  }

  setCircuit(key: string, circuit: CircuitStatus, now: number): void {
    this.#now = now;
    this.#circuits.set(key, circuit);
    this.established?.setCircuit(key, circuit, now);
  }

  /** Names of the switches that calls of the session come by. A call that lacks some is placed again. */
  setAggregators(key: string, names: readonly string[], now: number): void {
    this.#now = now;
    this.#aggregators.set(key, names);
    const session = this.sessionOf(key);
    if (session === undefined || !session.role.endsWith("sender")) return;
    if (names.every((name) => session.aggregators.includes(name))) return;
    this.#closeSession(key, "the call comes by other switches now");
  }

  /** The session ends for a reason of the session that it is switched to; its call is placed again. */
  relayEnding(key: string, { why, result }: Ending, now: number): void {
    this.#now = now;
    if (this.sessionOf(key)?.phase !== "established") return;
    this.established?.closeSession(key, why, now, result ?? undefined);
  }

  sessionOf(key: string): ControlSession | undefined {
    return this.established?.sessionOf(key);
  }

  /** What the ends have agreed on; undefined: not yet, or no longer. */
  agreementOf(key: string): EstablishedSession | undefined {
    const session = this.sessionOf(key);
    return session?.phase === "established" ? session.established() : undefined;
  }

  /** Why the session is not established; null: it is, or nothing has gone wrong yet. */
  lastEndingOf(key: string): Ending | null {
    return this.#sessions.get(key)?.lastEnding ?? null;
  }

  /** Something else than a control message came from the peer. */
  hear(at: number): void {
    this.established?.hear(at);
  }

  /** Whether a datagram that came there from there may be about it. */
  isWith(local: string, from: Pick<Endpoint, "address">): boolean {
    return this.config.local === local && this.config.remote.address === from.address;
  }

  /** The connection that the peer has begun under that id. */
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

  /** While there is no connection, that is why. */
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

  /** An SCCRQ that none of our connections has begun with. False: it is one of ours that came back. */
  receiveRequest(from: Endpoint, said: Attributes, octets: Octets, now: number): boolean {
    this.#now = now;
    if (this.config.mode === "Quiescent" || this.#isClosing) return false;
    if (this.#isOurs(said)) return false;
    this.#makeRoom("wait-ctl-conn", MAX_HALF_OPEN);
    this.#makeRoom("idle", MAX_LINGERING);
    const connection = this.#connect(this.#context.newId(this.config), from);
    connection.receive(from, octets, now);
    if (connection.counters.unauthenticated > 0) this.#noteUnsigned();
    // It was none, or not by who may.
    if (!connection.hasBegun) this.#drop(connection);
    return true;
  }

  /** Whoever sends our request back has no part in it. */
  #isOurs({ assignedConnectionId, tieBreaker }: Attributes): boolean {
    return this.connections.some(
      (connection) =>
        connection.localId === assignedConnectionId && connection.tieBreaker === tieBreaker,
    );
  }

  /** For one more in that state; the oldest goes. */
  #makeRoom(state: ControlConnection["state"], limit: number): void {
    const there = this.connections.filter((connection) => connection.state === state);
    for (const connection of there.slice(0, Math.max(0, there.length - limit + 1))) {
      // First: the end of a connection that may be forged says nothing of the peer.
      this.#drop(connection);
      connection.discard("others have begun since", this.#now);
    }
  }

  /** Says farewell; `isOver` when that is through. */
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
    // What has begun opens, or closes and has us try again.
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

  /** Some of the requests in the peer's name are not the peer's. */
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
    this.established?.closeSession(key, why, this.#now);
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

  /** Two that were begun at once: the lower tie breaker counts (5.4.3). */
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
    // Among forged requests ours goes when the peer confirms its own (#opened).
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
    // Those before it: a peer that has restarted knows nothing of them, and what it said before may still come.
    for (const other of this.connections) {
      if (other.state === "wait-ctl-reply") other.discard(TIE_LOST, this.#now);
    }
    for (const other of this.connections) {
      if (other === connection) break;
      other.close("a newer connection has taken its place", StopResult.AlreadyExists, this.#now);
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
    // The peer does answer, but not so that it could be believed.
    if (isSilence) this.#tell(this.#unsigned, false);
    else if (wasOurs || !this.#isTie(connection, ending)) this.#tell(ending, wasOurs);
    if (this.#isClosing) return;
    if (this.config.initiates || this.config.mode === "Quiescent") {
      // Requests that come to nothing may be forged, and are no failures of ours.
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

  /** Of two that were begun at once one goes, and the other goes on: nothing is over. */
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
    // What another connection has replaced says nothing of the session.
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
 * Why no call may be placed with the peer: its Pseudowire Capabilities List lacks the type (RFC 3931, 5.4.3). null: a
 * call may be placed. The peer's own calls are taken, since a peer that places one carries the type.
 */
function lackOf(
  { pseudowireTypes }: PeerIdentity,
  { pseudowireType }: SessionConfig,
): string | null {
  if (pseudowireTypes === null || pseudowireTypes.includes(pseudowireType)) return null;
  const theirs = describePseudowireTypes(pseudowireTypes) || "none";
  return `the peer does not carry pseudowire type ${describePseudowireTypes([pseudowireType])}; its types: ${theirs}`;
}
