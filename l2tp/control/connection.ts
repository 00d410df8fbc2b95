/**
 * One control connection: its state table, reliable delivery, authentication, keepalive and sessions. It does no
 * input or output, and has no clock and no chance of its own: the same calls give the same octets.
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

/** How a connection is to be held. */
export interface ConnectionSettings extends SecuritySettings {
  readonly hostName: string;
  readonly routerId: number;
  /** Pseudowire types that we carry. */
  readonly pseudowireTypes: readonly number[];
  readonly delivery: DeliverySettings;
  /** Without a word from the peer for so long we ask for one (HELLO). */
  readonly helloMs: number;
  /** Without a word for so long, though we have asked, the peer is gone; Infinity: when retransmission ends. */
  readonly deadAfterMs: number;
  /** Whatever is begun, a connection or a session, is to be established within that. */
  readonly setupMs: number;
}

/** What a connection has of the world outside. */
export interface ConnectionEnvironment extends SessionSurroundings {
  /** A datagram to the peer. */
  transmit(remote: Endpoint, octets: Octets): void;
  /** Whether an SCCRQ that we could accept may be; or why not. */
  admit(said: Attributes): ResultCode | null;
}

/** What a connection tells. */
export interface ConnectionListener {
  /** The peer does something otherwise than it should, and is borne with: in words. */
  noted(connection: ControlConnection, what: string): void;
  opened(connection: ControlConnection): void;
  closed(connection: ControlConnection, ending: Ending): void;
  sessionOpened(connection: ControlConnection, session: ControlSession): void;
  circuitChanged(connection: ControlConnection, session: ControlSession): void;
  sessionClosed(connection: ControlConnection, session: ControlSession, ending: Ending): void;
}

/** Messages that wait to be sent. A thousand sessions are set up by as many. */
const MAX_BACKLOG = 10_000;
/**
 * Pause until an SCCRQ is first sent again: a peer that is flooded in our name hears only a message
 * that comes again (repeats.ts has the least pause). The pauses after it are the usual ones, so a
 * distant or slow peer gets one more message than usual.
 */
const SCCRQ_RETRANSMIT_MS = 150;
const VENDOR = "l2tp-cni";

/** What the peer has said of itself. */
export interface PeerIdentity {
  /** 0: not known yet. */
  readonly connectionId: number;
  readonly hostName: string | null;
  readonly routerId: number | null;
  readonly vendorName: string | null;
  /** Numbers of the pseudowire types that it carries; null: not said. */
  readonly pseudowireTypes: readonly number[] | null;
}

const UNKNOWN_PEER: PeerIdentity = {
  connectionId: 0,
  hostName: null,
  routerId: null,
  vendorName: null,
  pseudowireTypes: null,
};

export interface MessageCounters {
  /** Not signed as they should be. */
  unauthenticated: number;
  undecodable: number;
}

export class ControlConnection {
  readonly localId: number;
  /** Whom it sends to: a peer may answer from another port than it listens on (4.1.2.1). */
  remote: Endpoint;
  /** The names in the peer's SCCRQ or SCCRP, as introductionOf has them; 0: not known. */
  introduction = 0;
  /** What decides where both ends open at once; null: we have not opened. */
  tieBreaker: string | null = null;
  peer = UNKNOWN_PEER;
  state: ConnectionState = "idle";
  readonly budget = new ConnectionBudget();
  readonly counters: MessageCounters = { unauthenticated: 0, undecodable: 0 };
  /** When the peer was last heard. */
  heardAt: number;
  readonly #sessions: Sessions;
  readonly #settings: ConnectionSettings;
  readonly #surroundings: ConnectionEnvironment;
  readonly #listener: ConnectionListener;
  #delivery: Delivery<EncodedBody, Decoded>;
  readonly #security: MessageSecurity;
  #reason: ResultCode = { result: StopResult.Clear };
  #ending: Ending | null = null;
  /** Whether it has ever left the idle state. */
  #hasStarted = false;
  #isClosed = false;
  /** Without any message but HELLO and its acknowledgement. */
  #isQuiescent = false;
  #isAnnounced = false;
  /** When the first message went out that is not acknowledged. */
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Over, but what is on its way is delivered and acknowledged until then. */
  #lingersUntil = Number.POSITIVE_INFINITY;
  /** When it is to be established. */
  readonly #setupUntil: number;
  /** HELLOs of several connections shall not go out at once: a part of the interval, from chance. */
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

  /** False: nothing has come of it yet. */
  get hasBegun(): boolean {
    return this.#hasStarted;
  }

  /**
   * True if a message with these numbers may say something new. The numbers are not authenticated.
   */
  isDue(ns: number, nr: number, isAcknowledgement: boolean): boolean {
    return this.#delivery.isDue(ns, nr, isAcknowledgement);
  }

  /** Nothing more will come of it: it may be forgotten. */
  isOver(now: number): boolean {
    if (this.state !== "idle" || !this.#hasStarted) return false;
    return this.#delivery.isExhausted || now >= this.#lingersUntil;
  }

  /** Asks the peer for the connection. */
  open(now: number): void {
    this.#now = now;
    this.tieBreaker = toHex(this.#surroundings.random(TIE_BREAKER_OCTETS));
    this.#delivery.hurry(SCCRQ_RETRANSMIT_MS);
    this.#handle("local open");
    this.#flush();
  }

  /** Ends it. */
  close(why: string, result: number, now: number): void {
    this.#now = now;
    this.#reason = { result, error: GeneralError.None, message: why };
    this.#ending = { by: "us", why, result };
    this.#handle("administrative close");
    this.#flush();
  }

  /** The peer's connection counts, of two that were begun at once (5.4.3, Tie Breaker). Nothing is said. */
  discard(why: string, now: number): void {
    this.#now = now;
    this.#lose(why);
  }

  /**
   * A connection of which both ends have known all from the start: HELLO alone (quiescent). It counts as opened when
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

  /** Places the call of a session. */
  openSession(config: SessionConfig, now: number): void {
    if (this.state !== "established") return;
    this.#now = now;
    this.#sessions.open(config, now);
    this.#flush();
  }

  /** The sessions of a key end. */
  closeSession(key: string, why: string, now: number, result?: number): void {
    this.#now = now;
    this.#sessions.of(key)?.close(why, result);
    this.#flush();
  }

  setCircuit(key: string, circuit: CircuitStatus, now: number): void {
    this.#now = now;
    this.#sessions.of(key)?.setCircuit(circuit);
    this.#flush();
  }

  /** Something else than a control message came from the peer, at that time. */
  hear(at: number): void {
    this.heardAt = Math.max(this.heardAt, at);
  }

  /** A datagram for this connection; or the SCCRQ that it begins with. What is not to be believed changes nothing. */
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
    // What anybody may have recorded and sent again is no sign of life, and moves nobody.
    if (isNews) {
      this.heardAt = now;
      this.remote = from;
      if (this.#isQuiescent) this.#announce();
    }
    for (const each of ready) this.#take(each);
    this.#settle();
    this.#flush();
  }

  /** Nobody tells that it begins anew, but by its numbers: so do we. */
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

  /** Does what is due by now. */
  poll(now: number): void {
    this.#now = now;
    if (this.#isBegun && now >= this.#setupUntil) this.#abort(OVERDUE, this.#overdue());
    this.#sessions.poll(now);
    if (this.state === "established") {
      // As the deadline has it: fractions of milliseconds are not to differ.
      if (now >= this.#deadAt() && !this.#delivery.isIdle) {
        return this.#lose(`nothing heard for ${((now - this.heardAt) / 1000).toFixed(1)} s`);
      }
      if (now >= this.#helloAt() && this.#delivery.isIdle) this.#send("HELLO", {});
    }
    this.#flush();
  }

  /** When `poll` has something to do. */
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

  /** Whoever has stood still himself gives the peer time to answer. */
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
    // All has been said.
    if (this.#isClosed) return;
    for (const flaw of message.flaws) {
      // An AVP that nobody knows and that is not mandatory is no lapse.
      if (flaw.isFatal || flaw.what === "unknown") continue;
      this.#listener.noted(this, `${type} was taken, although ${flawInWords(flaw)}`);
    }
    const fatal = message.flaws.find(({ isFatal }) => isFatal);
    if (type !== "unknown" && type !== null && isOfSession(type)) {
      if (this.state !== "established") return;
      return this.#sessions.receive(type, attributes, fatal, this.#now);
    }
    // What ends the connection is not to end by its own flaws.
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

  /** Whatever else is wrong: a farewell, too, is addressed to it (5.4.3). */
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
      const message = "authentication is asked for, and no secret is configured here";
      return { result: StopResult.NotAuthorized, error, message };
    }
    if (this.#security.authenticates && said.nonce === undefined) {
      const message = "authentication is required here";
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
    const { hostName, routerId, pseudowireTypes, delivery } = this.#settings;
    this.#send(type, {
      ...(this.#security.authenticates ? { nonce: this.#security.drawNonce() } : {}),
      hostName,
      routerId,
      vendorName: VENDOR,
      assignedConnectionId: this.localId,
      receiveWindowSize: delivery.receiveWindow,
      pseudowireCapabilities: pseudowireTypes,
      ...(type === "SCCRQ" && this.tieBreaker !== null ? { tieBreaker: this.tieBreaker } : {}),
    });
  }

  #stop(): void {
    // What has not gone yet need not go before it.
    this.#delivery.dropWaiting();
    this.#send("StopCCN", { resultCode: this.#reason, assignedConnectionId: this.localId });
    this.#linger();
  }

  /** So long that all that is on its way is acknowledged (4.2, 7.5). */
  #linger(): void {
    const { retransmitMs, retransmitCapMs, maxRetransmits } = this.#settings.delivery;
    let cycle = 0;
    for (let i = 0; i <= maxRetransmits; i++) {
      cycle += Math.min(retransmitMs * 2 ** i, retransmitCapMs);
    }
    this.#lingersUntil = this.#now + cycle;
  }

  /** Why it is not established in time. A peer drops what it cannot authenticate, and says nothing. */
  #overdue(): Ending {
    const isAnswered = this.state === "wait-ctl-conn";
    const secret = this.#security.authenticates ? "; it may have another shared secret" : "";
    const why = isAnswered
      ? "the peer has not confirmed the connection"
      : `the peer has not answered${secret}`;
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

  /** The peer is gone: there is nobody to tell. */
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

  /** Over, and acknowledged. */
  #settle(): void {
    if (this.state !== "idle" || !this.#hasStarted || !this.#delivery.isIdle) return;
    // The peer may not have heard that we have heard its StopCCN.
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
    if (this.#delivery.isExhausted) this.#lose("the peer does not acknowledge");
    else if (this.#delivery.backlog > MAX_BACKLOG) {
      this.#lose("the peer asks for more than it acknowledges");
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
