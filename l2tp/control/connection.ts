/**
 * One control connection: its state table, reliable delivery, authentication, keepalive and sessions. It does no I/O,
 * and gets time and random octets from its caller: the same calls give the same octets.
 */

import { ConnectionBudget } from "./admission.ts";
import type { Attributes } from "./attributes.ts";
import type { CircuitStatus } from "./circuit-status.ts";
import {
  CONNECTION_TABLE,
  type ConnectionAction,
  type ConnectionEvent,
  type ConnectionState,
} from "./connection-table.ts";
import { DEFAULT_WINDOW, Delivery, type DeliverySettings } from "./delivery.ts";
import { complaint, flawInWords } from "./flaw.ts";
import { type Decoded, decodeMessage, type EncodedBody } from "./message.ts";
import { MessageSecurity, type SecuritySettings } from "./message-security.ts";
import { isOfSession, type MessageType } from "./message-type.ts";
import { NO_OCTETS, type Octets, toHex } from "./octets.ts";
import { printable } from "./printable.ts";
import { GeneralError, StopResult } from "./result-code.ts";
import {
  type ControlSession,
  type Ending,
  endingOf,
  type SessionConfig,
  type SessionHost,
} from "./session.ts";
import { type SessionSurroundings, Sessions, TIE_BREAKER_OCTETS } from "./sessions.ts";
import type { Endpoint } from "./settings.ts";
import type { ResultCode } from "./value-formats.ts";

/** Settings of a connection. */
export interface ConnectionSettings extends SecuritySettings {
  readonly hostName: string;
  readonly routerId: number;
  /** Supported pseudowire types, by number. */
  readonly pseudowireTypes: readonly number[];
  /** True if this end propagates congestion marks, and says so (RFC 9601). */
  readonly propagatesEcn: boolean;
  readonly delivery: DeliverySettings;
  /** Silence of the peer after which we send a HELLO, in milliseconds. */
  readonly helloMs: number;
  /** Silence after which the peer is considered down, in milliseconds; Infinity: when retransmission ends. */
  readonly deadAfterMs: number;
  /** Time limit for establishing a connection or a session, in milliseconds. */
  readonly setupMs: number;
}

/** Services that a connection needs from its owner. */
export interface ConnectionEnvironment extends SessionSurroundings {
  /** Sends a datagram to the peer. */
  transmit(remote: Endpoint, octets: Octets): void;
  /** Returns why an otherwise acceptable SCCRQ is refused; null: it is accepted. */
  admit(said: Attributes): ResultCode | null;
}

/** Receives the events of a connection. */
export interface ConnectionListener {
  /** The peer deviates from the RFC in a way that is tolerated. @param what a description */
  noted(connection: ControlConnection, what: string): void;
  opened(connection: ControlConnection): void;
  closed(connection: ControlConnection, ending: Ending): void;
  sessionOpened(connection: ControlConnection, session: ControlSession): void;
  circuitChanged(connection: ControlConnection, session: ControlSession): void;
  sessionClosed(connection: ControlConnection, session: ControlSession, ending: Ending): void;
}

/** Limit of messages that wait to be sent. A thousand sessions are set up with fewer. */
const MAX_BACKLOG = 10_000;
/**
 * Delay of the first retransmission of an SCCRQ. A peer that is flooded in our name accepts only a retransmission
 * (repeats.ts has the shortest delay). Later delays are the usual ones, so a slow peer gets one more message than
 * usual.
 */
const SCCRQ_RETRANSMIT_MS = 150;
const VENDOR = "l2tp-cni";

/** The peer's identity, from its SCCRQ or SCCRP. */
export interface PeerIdentity {
  /** 0: not known yet. */
  readonly connectionId: number;
  readonly hostName: string | null;
  readonly routerId: number | null;
  readonly vendorName: string | null;
  /** Numbers of the pseudowire types that it supports; null: not sent. */
  readonly pseudowireTypes: readonly number[] | null;
  /** True if the peer propagates congestion marks (RFC 9601). */
  readonly propagatesEcn: boolean;
}

const UNKNOWN_PEER: PeerIdentity = {
  connectionId: 0,
  hostName: null,
  routerId: null,
  vendorName: null,
  pseudowireTypes: null,
  propagatesEcn: false,
};

export interface MessageCounters {
  /** Messages without a valid digest. */
  unauthenticated: number;
  undecodable: number;
}

export class ControlConnection {
  readonly localId: number;
  /** The endpoint to send to: a peer can answer from another port than it listens on (4.1.2.1). */
  remote: Endpoint;
  /** Hash of the names in the peer's SCCRQ or SCCRP (introductionOf); 0: not known. */
  introduction = 0;
  /** Our Tie Breaker, for simultaneous opens; null: we did not open. */
  tieBreaker: string | null = null;
  peer = UNKNOWN_PEER;
  state: ConnectionState = "idle";
  readonly budget = new ConnectionBudget();
  readonly counters: MessageCounters = { unauthenticated: 0, undecodable: 0 };
  /** Time of the last message from the peer. */
  heardAt: number;
  readonly #sessions: Sessions;
  readonly #settings: ConnectionSettings;
  readonly #surroundings: ConnectionEnvironment;
  readonly #listener: ConnectionListener;
  #delivery: Delivery<EncodedBody, Decoded>;
  readonly #security: MessageSecurity;
  #reason: ResultCode = { result: StopResult.Clear };
  #ending: Ending | null = null;
  /** True if it has left the idle state before. */
  #hasStarted = false;
  #isClosed = false;
  /** True for a quiescent connection: only HELLO messages and their acknowledgements. */
  #isQuiescent = false;
  #isAnnounced = false;
  /** Time at which the first unacknowledged message was sent. */
  #askedAt = Number.NEGATIVE_INFINITY;
  /** After the end, messages in flight are delivered and acknowledged until this time. */
  #lingersUntil = Number.POSITIVE_INFINITY;
  /** Deadline for its establishment. */
  readonly #setupUntil: number;
  /** Random factor of the HELLO interval, so that several connections do not send HELLOs at once. */
  readonly #jitter: number;
  #now: number;

  constructor(
    localId: number,
    remote: Endpoint,
    settings: ConnectionSettings,
    surroundings: ConnectionEnvironment,
    listener: ConnectionListener,
    now: number,
  ) {
    this.localId = localId;
    this.remote = remote;
    this.#settings = settings;
    this.#surroundings = surroundings;
    this.#listener = listener;
    this.#delivery = new Delivery(settings.delivery);
    this.#now = now;
    this.heardAt = now;
    this.#setupUntil = now + settings.setupMs;
    this.#security = new MessageSecurity(settings, surroundings.random);
    const host: SessionHost = {
      send: (type, attributes) => this.#send(type, attributes),
      established: (session) => listener.sessionOpened(this, session),
      circuitChanged: (session) => listener.circuitChanged(this, session),
      over: (session, ending) => listener.sessionClosed(this, session, ending),
    };
    this.#sessions = new Sessions(surroundings, host, settings.setupMs);
    this.#jitter = 1 - ((surroundings.random(1)[0] ?? 0) / 255) * 0.1;
  }

  get sessions(): readonly ControlSession[] {
    return this.#sessions.all;
  }

  sessionOf(key: string): ControlSession | undefined {
    return this.#sessions.of(key);
  }

  describeDelivery() {
    return { ...this.#delivery.describe(), ...this.#delivery.counters };
  }

  /** False: it has not left the idle state yet. */
  get hasBegun(): boolean {
    return this.#hasStarted;
  }

  /**
   * True if a message with these numbers can be new. The numbers are not authenticated.
   */
  isDue(ns: number, nr: number, isAcknowledgement: boolean): boolean {
    return this.#delivery.isDue(ns, nr, isAcknowledgement);
  }

  /** True if the connection has ended completely and can be forgotten. */
  isOver(now: number): boolean {
    if (this.state !== "idle" || !this.#hasStarted) return false;
    return this.#delivery.isExhausted || now >= this.#lingersUntil;
  }

  /** Opens the connection to the peer. */
  open(now: number): void {
    this.#now = now;
    this.tieBreaker = toHex(this.#surroundings.random(TIE_BREAKER_OCTETS));
    this.#delivery.hurry(SCCRQ_RETRANSMIT_MS);
    this.#handle("local open");
    this.#flush();
  }

  /** Closes the connection. @param why a reason that is also sent to the peer */
  close(why: string, result: number, now: number): void {
    this.#now = now;
    this.#reason = { result, error: GeneralError.None, message: why };
    this.#ending = { by: "us", why, result };
    this.#handle("administrative close");
    this.#flush();
  }

  /** Ends the connection without a message, for example because it lost the tie breaker (5.4.3). */
  discard(why: string, now: number): void {
    this.#now = now;
    this.#lose(why);
  }

  /**
   * Starts a quiescent connection, which both ends have configured and which sends HELLO only. It counts as opened when
   * the peer is heard.
   */
  assumeEstablished(peerConnectionId: number, now: number): void {
    this.#now = now;
    this.peer = { ...this.peer, connectionId: peerConnectionId };
    this.#hasStarted = true;
    this.#isQuiescent = true;
    this.state = "established";
    this.#send("HELLO", {});
    this.#flush();
  }

  /** Sends the request of a session. */
  openSession(config: SessionConfig, now: number): void {
    if (this.state !== "established") return;
    this.#now = now;
    this.#sessions.open(config, now);
    this.#flush();
  }

  /**
   * Closes the session of the key.
   * @param code the Result Code of the CDN (RFC 3931, 5.4.2)
   */
  closeSession(key: string, code: ResultCode, now: number): void {
    this.#now = now;
    this.#sessions.of(key)?.close(code);
    this.#flush();
  }

  setCircuit(key: string, circuit: CircuitStatus, now: number): void {
    this.#now = now;
    this.#sessions.of(key)?.setCircuit(circuit);
    this.#flush();
  }

  /** Notes that the peer sent data at that time. */
  hear(at: number): void {
    this.heardAt = Math.max(this.heardAt, at);
  }

  /** Handles a datagram for this connection, or its initial SCCRQ. Unauthenticated messages change nothing. */
  receive(from: Endpoint, octets: Octets, now: number): void {
    this.#now = now;
    const message = decodeMessage(octets, this.#security.hiding);
    if ("undecodable" in message) {
      this.counters.undecodable++;
      return;
    }
    if (!this.#security.isAuthentic(octets.subarray(0, message.length), message)) {
      this.counters.unauthenticated++;
      return;
    }
    const { ns, nr } = message.header;
    const isAcknowledgement = message.type === null || message.type === "ACK";
    if (this.#isQuiescent && !isAcknowledgement) this.#renew(ns, nr);
    const { ready, isNews } = this.#delivery.receive(
      ns,
      nr,
      isAcknowledgement ? null : message,
      now,
    );
    // A replayed message is not a sign of life, and does not change the peer's endpoint.
    if (isNews) {
      this.heardAt = now;
      this.remote = from;
      if (this.#isQuiescent) this.#announce();
    }
    for (const each of ready) this.#take(each);
    this.#settle();
    this.#flush();
  }

  /** Restarts delivery if the numbers show that the peer of a quiescent connection has restarted. */
  #renew(ns: number, nr: number): void {
    const { ns: sent, nr: received } = this.#delivery.describe();
    if (ns !== 0 || (received <= 1 && (nr !== 0 || sent <= 1))) return;
    this.#delivery = new Delivery(this.#settings.delivery);
  }

  #announce(): void {
    if (this.#isAnnounced || this.#isClosed) return;
    this.#isAnnounced = true;
    this.#listener.opened(this);
  }

  /** Performs actions that are due. */
  poll(now: number): void {
    this.#now = now;
    if (this.#isBegun && now >= this.#setupUntil) this.#abort(OVERDUE, this.#overdue());
    this.#sessions.poll(now);
    if (this.state === "established") {
      // The same computation as in deadline(), so that rounding cannot differ.
      if (now >= this.#deadAt() && !this.#delivery.isIdle) {
        return this.#lose(`no message received for ${((now - this.heardAt) / 1000).toFixed(1)} s`);
      }
      if (now >= this.#helloAt() && this.#delivery.isIdle) this.#send("HELLO", {});
    }
    this.#flush();
  }

  /** Returns the time of the next `poll`. */
  deadline(): number {
    const { deadline } = this.#delivery;
    if (this.#isBegun) return Math.min(deadline, this.#setupUntil);
    if (this.state === "idle") return Math.min(deadline, this.#lingersUntil);
    const next = this.#delivery.isIdle ? this.#helloAt() : this.#deadAt();
    return Math.min(deadline, next, this.#sessions.deadline());
  }

  get #isBegun(): boolean {
    return this.state === "wait-ctl-reply" || this.state === "wait-ctl-conn";
  }

  /** After a pause of this process, the peer still gets time to answer. */
  #deadAt(): number {
    const { deadAfterMs, delivery } = this.#settings;
    return Math.max(this.heardAt + deadAfterMs, this.#askedAt + delivery.retransmitMs);
  }

  #helloAt(): number {
    return this.heardAt + this.#settings.helloMs * this.#jitter;
  }

  #take(message: Decoded): void {
    const { type, attributes } = message;
    this.#learnId(attributes);
    // A closed connection ignores messages.
    if (this.#isClosed) return;
    for (const flaw of message.flaws) {
      // An unknown AVP that is not mandatory is not a fault.
      if (flaw.isFatal || flaw.what === "unknown") continue;
      this.#listener.noted(this, `accepted ${type} despite a fault: ${flawInWords(flaw)}`);
    }
    const fatal = message.flaws.find(({ isFatal }) => isFatal);
    if (type !== "unknown" && type !== null && isOfSession(type)) {
      if (this.state !== "established") return;
      return this.#sessions.receive(type, attributes, fatal, this.#now);
    }
    // A faulty StopCCN still ends the connection.
    if (fatal !== undefined && type === "SCCRQ" && !this.#hasStarted) {
      return this.#takeIntroduction(type, attributes, complaint(fatal));
    }
    if (fatal !== undefined && type !== "StopCCN") return this.#abort(complaint(fatal));
    switch (type) {
      case "SCCRQ":
      case "SCCRP":
        return this.#takeIntroduction(type, attributes);
      case "SCCCN":
        return this.#handle("SCCCN, acceptable");
      case "StopCCN": {
        this.#ending = endingOf("peer", "StopCCN", attributes.resultCode ?? { result: 0 });
        this.#linger();
        return this.#handle("StopCCN");
      }
    }
  }

  /** Learns the peer's ID even from a faulty message, because a StopCCN must carry it (5.4.3). */
  #learnId({ assignedConnectionId }: Attributes): void {
    if (assignedConnectionId === undefined || this.peer.connectionId !== 0) return;
    this.peer = { ...this.peer, connectionId: assignedConnectionId };
  }

  #takeIntroduction(
    type: "SCCRQ" | "SCCRP",
    said: Attributes,
    flaw: ResultCode | null = null,
  ): void {
    const why =
      flaw ?? this.#objection(said) ?? (type === "SCCRQ" ? this.#surroundings.admit(said) : null);
    if (why === null || type === "SCCRQ") {
      this.peer = {
        connectionId: said.assignedConnectionId ?? 0,
        hostName: said.hostName === undefined ? null : printable(said.hostName),
        routerId: said.routerId ?? null,
        vendorName: said.vendorName === undefined ? null : printable(said.vendorName),
        pseudowireTypes: said.pseudowireCapabilities ?? null,
        propagatesEcn: said.ecnCapability === true,
      };
      this.#security.peerNonce = said.nonce ?? NO_OCTETS;
      this.#delivery.setPeerWindow(said.receiveWindowSize ?? DEFAULT_WINDOW);
    }
    if (why !== null) this.#reason = why;
    this.#handle(`${type}, ${why === null ? "acceptable" : "not acceptable"}`);
  }

  #objection(said: Attributes): ResultCode | null {
    const error = GeneralError.None;
    if (said.nonce !== undefined && !this.#security.authenticates) {
      const message = `authentication is required, but no shared secret is configured on ${this.#settings.hostName}`;
      return { result: StopResult.NotAuthorized, error, message };
    }
    if (this.#security.authenticates && said.nonce === undefined) {
      const message = `authentication is required by ${this.#settings.hostName}`;
      return { result: StopResult.NotAuthorized, error, message };
    }
    return null;
  }

  #handle(event: ConnectionEvent): void {
    const transition = CONNECTION_TABLE.find(this.state, event);
    if (transition === undefined) return;
    this.#hasStarted = true;
    this.state = transition.next;
    for (const action of transition.actions) this.#do(action);
  }

  #do(action: ConnectionAction): void {
    switch (action) {
      case "send SCCRQ":
      case "send SCCRP":
        return this.#introduce(action === "send SCCRQ" ? "SCCRQ" : "SCCRP");
      case "send SCCCN":
        return this.#send("SCCCN", {});
      case "send StopCCN":
        return this.#stop();
      case "open sessions":
        return this.#listener.opened(this);
      case "clean up":
        return this.#cleanUp();
    }
  }

  #introduce(type: "SCCRQ" | "SCCRP"): void {
    const { hostName, routerId, pseudowireTypes, propagatesEcn, delivery } = this.#settings;
    this.#send(type, {
      ...(this.#security.authenticates ? { nonce: this.#security.drawNonce() } : {}),
      hostName,
      routerId,
      vendorName: VENDOR,
      assignedConnectionId: this.localId,
      receiveWindowSize: delivery.receiveWindow,
      pseudowireCapabilities: pseudowireTypes,
      ...(propagatesEcn ? { ecnCapability: true } : {}),
      ...(type === "SCCRQ" && this.tieBreaker !== null ? { tieBreaker: this.tieBreaker } : {}),
    });
  }

  #stop(): void {
    // Messages that were not sent yet are obsolete.
    this.#delivery.dropWaiting();
    this.#send("StopCCN", { resultCode: this.#reason, assignedConnectionId: this.localId });
    this.#linger();
  }

  /** Keeps the connection for a full retransmission cycle, to acknowledge retransmissions (4.2, 7.5). */
  #linger(): void {
    const { retransmitMs, retransmitCapMs, maxRetransmits } = this.#settings.delivery;
    let cycle = 0;
    for (let i = 0; i <= maxRetransmits; i++) {
      cycle += Math.min(retransmitMs * 2 ** i, retransmitCapMs);
    }
    this.#lingersUntil = this.#now + cycle;
  }

  /** Returns the reason of a setup timeout. A peer drops unauthenticated messages silently. */
  #overdue(): Ending {
    const isAnswered = this.state === "wait-ctl-conn";
    const secret = this.#security.authenticates ? "; its shared secret may differ" : "";
    const why = isAnswered
      ? "the peer did not confirm the connection"
      : `no response from the peer${secret}`;
    return { by: "connection", why, result: null };
  }

  #abort(reason: ResultCode, ending = endingOf("us", "StopCCN", reason)): void {
    if (this.state === "idle") return;
    this.#reason = reason;
    this.#ending = ending;
    this.state = "idle";
    this.#do("send StopCCN");
    this.#do("clean up");
  }

  /** Ends the connection without a message, because the peer is down. */
  #lose(why: string): void {
    this.#ending = { by: "connection", why, result: null };
    this.state = "idle";
    this.#lingersUntil = this.#now;
    this.#cleanUp();
  }

  #cleanUp(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const ending = this.#ending ?? endingOf("us", "StopCCN", this.#reason);
    this.#sessions.lose(ending.why);
    this.#listener.closed(this, ending);
  }

  /** Ends lingering once all messages are acknowledged. */
  #settle(): void {
    if (this.state !== "idle" || !this.#hasStarted || !this.#delivery.isIdle) return;
    // Our acknowledgement of the peer's StopCCN may be lost.
    if (this.#ending?.by !== "peer") this.#lingersUntil = this.#now;
  }

  #send(type: MessageType, attributes: Attributes): void {
    if (this.#delivery.isIdle) this.#askedAt = this.#now;
    this.#delivery.send(this.#security.encode({ type, attributes }));
  }

  #flush(): void {
    for (const { ns, nr, item } of this.#delivery.poll(this.#now)) this.#transmit(ns, nr, item);
    const owed = this.#delivery.takeAcknowledgement();
    if (owed !== null) this.#transmit(owed.ns, owed.nr, ACKNOWLEDGEMENT);
    if (this.state === "idle") return;
    if (this.#delivery.isExhausted) this.#lose("the peer does not acknowledge messages");
    else if (this.#delivery.backlog > MAX_BACKLOG) {
      this.#lose("too many messages wait for acknowledgement by the peer");
    }
  }

  #transmit(ns: number, nr: number, body: EncodedBody): void {
    const { connectionId } = this.peer;
    this.#surroundings.transmit(this.remote, this.#security.seal({ connectionId, ns, nr }, body));
  }
}

const ACKNOWLEDGEMENT: EncodedBody = { type: "ACK", avps: NO_OCTETS };

const OVERDUE: ResultCode = {
  result: StopResult.StateMachine,
  error: GeneralError.None,
  message: "not established in time",
};
