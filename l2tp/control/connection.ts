/**
 * One control connection: its state table, reliable delivery, authentication, keepalive and sessions. It does no
 * input or output, and has no clock and no chance of its own: the same calls give the same octets.
 */
import type { Attributes } from "./attributes.ts";
import { digestKey, isSigned, NO_NONCES, type Nonces, sign } from "./authentication.ts";
import type { CircuitStatus } from "./circuit-status.ts";
import {
  CONNECTION_TABLE,
  type ConnectionAction,
  type ConnectionEvent,
  type ConnectionState,
} from "./connection-table.ts";
import { DEFAULT_WINDOW, Delivery, type DeliverySettings } from "./delivery.ts";
import type { DigestHash, Hashes } from "./hashes.ts";
import { hidingKey } from "./hiding.ts";
import {
  type Decoded,
  decodeMessage,
  type EncodedBody,
  encodeBody,
  encodeMessage,
  type Flaw,
} from "./message.ts";
import { isOfSession, type MessageType } from "./message-type.ts";
import { NO_OCTETS, type Octets, toHex } from "./octets.ts";
import { DisconnectResult, describeResult, GeneralError, StopResult } from "./result-code.ts";
import { ControlSession, type Ending, type SessionConfig } from "./session.ts";
import type { SessionRole } from "./session-tables.ts";
import type { ResultCode } from "./value-formats.ts";

/** How a connection is to be held. */
export interface ConnectionSettings {
  readonly hostName: string;
  readonly routerId: number;
  /** Pseudowire types that we carry. */
  readonly pseudowireTypes: readonly number[];
  /** None: without authentication. The first two count; a second is for a change of the secret. */
  readonly secrets: readonly Octets[];
  readonly digest: DigestHash;
  /** Whether values that may be hidden are; only with a secret. */
  readonly hidesValues: boolean;
  readonly delivery: DeliverySettings;
  /** Without a word from the peer for so long we ask for one (HELLO). */
  readonly helloMs: number;
  /** Without a word for so long, though we have asked, the peer is gone; Infinity: when retransmission ends. */
  readonly deadAfterMs: number;
  /** Whatever is begun, a connection or a session, is to be established within that. */
  readonly setupMs: number;
}

/** What a connection has of the world outside. */
export interface Surroundings {
  readonly hashes: Hashes;
  /** Octets that nobody can guess. */
  random(count: number): Octets;
  /** A session id that nobody has at the local endpoint. */
  newSessionId(): number;
  /** A datagram to the peer. */
  transmit(octets: Octets): void;
  /** The session that an ICRQ or OCRQ is for; or why there is none. */
  match(said: Attributes): SessionConfig | ResultCode;
  /** Whether an SCCRQ that we could accept may be; or why not. */
  admit(said: Attributes): ResultCode | null;
  /** The circuit of one of our sessions, now. */
  circuit(key: string): CircuitStatus;
}

/** What a connection tells. */
export interface ConnectionListener {
  opened(connection: ControlConnection): void;
  closed(connection: ControlConnection, ending: Ending): void;
  sessionOpened(connection: ControlConnection, session: ControlSession): void;
  circuitChanged(connection: ControlConnection, session: ControlSession): void;
  sessionClosed(connection: ControlConnection, session: ControlSession, ending: Ending): void;
}

const NONCE_OCTETS = 16;
const VECTOR_OCTETS = 16;
const MAX_PADDING_OCTETS = 15;
const COOKIE_OCTETS = 8;
const TIE_BREAKER_OCTETS = 8;
const VENDOR = "l2tp-cni";

/** What the peer has said of itself. */
export interface Peer {
  /** 0: not known yet. */
  readonly connectionId: number;
  readonly hostName: string | null;
  readonly routerId: number | null;
  readonly vendorName: string | null;
}

export interface MessageCounters {
  /** Not signed as they should be. */
  unauthenticated: number;
  undecodable: number;
}

export class ControlConnection {
  readonly localId: number;
  /** What decides where both ends open at once; null: we have not opened. */
  tieBreaker: string | null = null;
  peer: Peer = { connectionId: 0, hostName: null, routerId: null, vendorName: null };
  state: ConnectionState = "idle";
  readonly counters: MessageCounters = { unauthenticated: 0, undecodable: 0 };
  /** When the peer was last heard. */
  heardAt: number;
  readonly #sessions = new Map<number, ControlSession>();
  /** Not established yet, and when they are to be. */
  readonly #pending = new Map<ControlSession, number>();
  readonly #settings: ConnectionSettings;
  readonly #surroundings: Surroundings;
  readonly #listener: ConnectionListener;
  #delivery: Delivery<EncodedBody, Decoded>;
  readonly #digestKeys: readonly Octets[];
  readonly #hidingKey: Octets | null;
  #nonce: Octets = NO_OCTETS;
  #peerNonce: Octets = NO_OCTETS;
  #reason: ResultCode = { result: StopResult.Clear };
  #ending: Ending | null = null;
  /** Whether it has ever left the idle state. */
  #hasStarted = false;
  #isClosed = false;
  /** Without any message but HELLO and its acknowledgement. */
  #isQuiescent = false;
  #isAnnounced = false;
  /** Over, but what is on its way is delivered and acknowledged until then. */
  #lingersUntil = Number.POSITIVE_INFINITY;
  /** When it is to be established. */
  readonly #setupUntil: number;
  /** HELLOs of several connections shall not go out at once: a part of the interval, from chance. */
  readonly #jitter: number;
  #serialNumber = 0;
  #now: number;

  constructor(
    localId: number,
    settings: ConnectionSettings,
    surroundings: Surroundings,
    listener: ConnectionListener,
    now: number,
  ) {
    this.localId = localId;
    this.#settings = settings;
    this.#surroundings = surroundings;
    this.#listener = listener;
    this.#delivery = new Delivery(settings.delivery);
    this.#now = now;
    this.heardAt = now;
    this.#setupUntil = now + settings.setupMs;
    const { hashes } = surroundings;
    const secrets = settings.secrets.slice(0, 2);
    this.#digestKeys = secrets.map((secret) => digestKey(hashes, secret));
    const [first] = secrets;
    this.#hidingKey = first === undefined ? null : hidingKey(hashes, first);
    this.#jitter = 1 - ((surroundings.random(1)[0] ?? 0) / 255) * 0.1;
  }

  get authenticates(): boolean {
    return this.#digestKeys.length > 0;
  }

  get sessions(): readonly ControlSession[] {
    return [...this.#sessions.values()];
  }

  describeDelivery() {
    return { ...this.#delivery.describe(), ...this.#delivery.counters };
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
    if (this.state !== "established" || config.places === null) return;
    this.#now = now;
    const role = `${config.places} sender` as const;
    this.#createSession(config, role, true).open();
    this.#flush();
  }

  /** The sessions of a key end. */
  closeSession(key: string, why: string, now: number): void {
    this.#now = now;
    for (const session of this.#sessionsOf(key)) session.close(why);
    this.#flush();
  }

  setCircuit(key: string, circuit: CircuitStatus, now: number): void {
    this.#now = now;
    for (const session of this.#sessionsOf(key)) session.setCircuit(circuit);
    this.#flush();
  }

  /** Something else than a control message came from the peer, at that time. */
  hear(at: number): void {
    this.heardAt = Math.max(this.heardAt, at);
  }

  /** A datagram for this connection; or the SCCRQ that it begins with. False: it is not to be believed. */
  receive(octets: Octets, now: number): boolean {
    this.#now = now;
    const { hashes } = this.#surroundings;
    const hiding = this.#hidingKey === null ? null : { hashes, key: this.#hidingKey };
    const message = decodeMessage(octets, hiding);
    if ("undecodable" in message) {
      this.counters.undecodable++;
      return false;
    }
    if (!this.#isAuthentic(octets, message)) {
      this.counters.unauthenticated++;
      return false;
    }
    this.heardAt = now;
    const { ns, nr } = message.header;
    const isAcknowledgement = message.type === null || message.type === "ACK";
    if (this.#isQuiescent) this.#hearQuiescent(ns);
    const { ready } = this.#delivery.receive(ns, nr, isAcknowledgement ? null : message, now);
    for (const each of ready) this.#take(each);
    this.#settle();
    this.#flush();
    return true;
  }

  #hearQuiescent(ns: number): void {
    // Nobody tells that it begins anew, but by its numbers: so do we.
    if (ns === 0 && this.#delivery.describe().nr > 1) {
      this.#delivery = new Delivery(this.#settings.delivery);
    }
    if (this.#isAnnounced || this.#isClosed) return;
    this.#isAnnounced = true;
    this.#listener.opened(this);
  }

  /** Does what is due by now. */
  poll(now: number): void {
    this.#now = now;
    if (this.#isBegun && now >= this.#setupUntil) this.#abort(timeout());
    for (const [session, until] of this.#pending) {
      if (now >= until) session.abort(timeout(DisconnectResult.StateMachine));
    }
    if (this.state === "established") {
      // As the deadline has it: fractions of milliseconds are not to differ.
      if (now >= this.heardAt + this.#settings.deadAfterMs && !this.#delivery.isIdle) {
        return this.#lose(`nothing heard for ${Math.round(now - this.heardAt)} ms`);
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
    const next = this.#delivery.isIdle
      ? this.#helloAt()
      : this.heardAt + this.#settings.deadAfterMs;
    // The first is the oldest.
    const [pending = Number.POSITIVE_INFINITY] = this.#pending.values();
    return Math.min(deadline, next, pending);
  }

  get #isBegun(): boolean {
    return this.state === "wait-ctl-reply" || this.state === "wait-ctl-conn";
  }

  #helloAt(): number {
    return this.heardAt + this.#settings.helloMs * this.#jitter;
  }

  /** Whether a message is by who shares our secret; without one: whether it is as it was sent. */
  #isAuthentic(octets: Octets, message: Decoded): boolean {
    const { hashes } = this.#surroundings;
    const { digests, type, attributes } = message;
    if (!this.authenticates) {
      if (digests.length === 0) return true;
      return isSigned(hashes, octets, digests, [NO_OCTETS], NO_NONCES);
    }
    if (digests.length === 0) return false;
    const nonces: Nonces =
      type === "SCCRQ"
        ? NO_NONCES
        : {
            sender: type === "SCCRP" ? (attributes.nonce ?? NO_OCTETS) : this.#peerNonce,
            receiver: this.#nonce,
          };
    const length = new DataView(octets.buffer, octets.byteOffset).getUint16(2);
    return isSigned(hashes, octets.subarray(0, length), digests, this.#digestKeys, nonces);
  }

  #take(message: Decoded): void {
    const { type, attributes } = message;
    // All has been said.
    if (this.#isClosed) return;
    const fatal = message.flaws.find(({ isFatal }) => isFatal);
    if (type !== "unknown" && type !== null && isOfSession(type)) {
      return this.#takeSessionMessage(type, attributes, fatal);
    }
    // What ends the connection is not to end by its own flaws.
    if (fatal !== undefined && type !== "StopCCN") return this.#abort(complaint(fatal));
    switch (type) {
      case "SCCRQ":
      case "SCCRP":
        return this.#takeIntroduction(type, attributes);
      case "SCCCN":
        return this.#handle("SCCCN, acceptable");
      case "StopCCN": {
        const code = attributes.resultCode ?? { result: 0 };
        const why = describeResult("StopCCN", code);
        this.#ending = { by: "peer", why, result: code.result };
        this.#linger();
        return this.#handle("StopCCN");
      }
    }
  }

  #takeIntroduction(type: "SCCRQ" | "SCCRP", said: Attributes): void {
    const why = this.#objection(said) ?? (type === "SCCRQ" ? this.#surroundings.admit(said) : null);
    if (why === null || type === "SCCRQ") {
      this.peer = {
        connectionId: said.assignedConnectionId ?? 0,
        hostName: said.hostName ?? null,
        routerId: said.routerId ?? null,
        vendorName: said.vendorName ?? null,
      };
      this.#peerNonce = said.nonce ?? NO_OCTETS;
      this.#delivery.setPeerWindow(said.receiveWindowSize ?? DEFAULT_WINDOW);
    }
    if (why !== null) this.#reason = why;
    this.#handle(`${type}, ${why === null ? "acceptable" : "not acceptable"}`);
  }

  #objection(said: Attributes): ResultCode | null {
    const theirs = said.pseudowireCapabilities ?? [];
    const error = GeneralError.None;
    if (said.nonce !== undefined && !this.authenticates) {
      const message = "authentication is asked for, and no secret is configured here";
      return { result: StopResult.NotAuthorized, error, message };
    }
    if (this.authenticates && said.nonce === undefined) {
      const message = "authentication is required here";
      return { result: StopResult.NotAuthorized, error, message };
    }
    if (this.#settings.pseudowireTypes.some((type) => theirs.includes(type))) return null;
    const message = `no pseudowire type in common: ${this.#settings.pseudowireTypes.join(", ")}`;
    return { result: StopResult.GeneralError, error: GeneralError.OutOfRange, message };
  }

  #takeSessionMessage(type: MessageType, said: Attributes, fatal: Flaw | undefined): void {
    if (this.state !== "established") return;
    if (type === "ICRQ" || type === "OCRQ") return this.#takeRequest(type, said, fatal);
    const session = this.#find(said);
    if (session === undefined) {
      // Whoever talks of what is gone is told so, and a CDN is never answered.
      if (type !== "CDN" && type !== "WEN" && type !== "SLI") this.#refuse(said, unknownSession());
      return;
    }
    if (fatal !== undefined && type !== "CDN") return session.abort(complaint(fatal));
    session.receive(type, said);
  }

  /** By our id; and by the peer's while it does not know ours (5.4.4, Remote Session ID). */
  #find({ localSessionId, remoteSessionId }: Attributes): ControlSession | undefined {
    if (remoteSessionId) return this.#sessions.get(remoteSessionId);
    if (!localSessionId) return undefined;
    return this.sessions.find(({ peer }) => peer.sessionId === localSessionId);
  }

  #takeRequest(type: "ICRQ" | "OCRQ", said: Attributes, fatal: Flaw | undefined): void {
    if (fatal !== undefined) return this.#refuse(said, complaint(fatal));
    if (!said.localSessionId) return this.#refuse(said, invalidId("a local session id of 0"));
    const config = this.#surroundings.match(said);
    if (!("key" in config)) return this.#refuse(said, config);
    for (const session of this.#sessionsOf(config.key)) {
      const refusal = this.#tie(session, said);
      if (refusal !== null) return this.#refuse(said, refusal);
    }
    this.#createSession(config, `${type} recipient`, false).accept(said);
  }

  /**
   * What becomes of a request for a circuit that we have a session for (5.4.4, Session Tie Breaker). null: the
   * request counts, and the session is gone.
   */
  #tie(session: ControlSession, { tieBreaker }: Attributes): ResultCode | null {
    const lost = { result: DisconnectResult.LostTieBreaker };
    if (session.phase !== "wait-reply") {
      const message = "there is a session for this Remote End ID";
      return { result: DisconnectResult.NoFacilitiesNow, error: GeneralError.None, message };
    }
    const ours = session.tieBreaker;
    if (tieBreaker === undefined) {
      if (ours !== null) return lost;
    } else if (ours === null || tieBreaker < ours) {
      session.loseTie();
      return null;
    } else if (ours < tieBreaker) return lost;
    // Neither wins: both give up, and begin anew.
    session.abort(lost);
    return lost;
  }

  /** The ids as the peer has said them, the other way round. */
  #refuse({ localSessionId, remoteSessionId }: Attributes, resultCode: ResultCode): void {
    const ids = { localSessionId: remoteSessionId ?? 0, remoteSessionId: localSessionId ?? 0 };
    this.#send("CDN", { resultCode, ...ids });
  }

  #createSession(config: SessionConfig, role: SessionRole, asks: boolean): ControlSession {
    const { random, circuit, newSessionId } = this.#surroundings;
    const session = new ControlSession(
      config,
      role,
      circuit(config.key),
      {
        localId: newSessionId(),
        rxCookie: config.rxCookie ?? toHex(random(COOKIE_OCTETS)),
        tieBreaker: asks ? toHex(random(TIE_BREAKER_OCTETS)) : null,
        serialNumber: ++this.#serialNumber,
      },
      {
        send: (type, attributes) => this.#send(type, attributes),
        established: (it) => {
          this.#pending.delete(it);
          this.#listener.sessionOpened(this, it);
        },
        circuitChanged: (it) => this.#listener.circuitChanged(this, it),
        over: (it, ending) => {
          this.#sessions.delete(it.localId);
          this.#pending.delete(it);
          this.#listener.sessionClosed(this, it, ending);
        },
      },
    );
    this.#sessions.set(session.localId, session);
    this.#pending.set(session, this.#now + this.#settings.setupMs);
    return session;
  }

  #sessionsOf(key: string): ControlSession[] {
    return this.sessions.filter(({ config }) => config.key === key);
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
    if (this.authenticates) this.#nonce = this.#surroundings.random(NONCE_OCTETS);
    this.#send(type, {
      ...(this.authenticates ? { nonce: this.#nonce } : {}),
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

  #abort(reason: ResultCode): void {
    if (this.state === "idle") return;
    this.#reason = reason;
    this.#ending = { by: "us", why: describeResult("StopCCN", reason), result: reason.result };
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
    const { why } = this.#ending ?? { why: describeResult("StopCCN", this.#reason) };
    for (const session of this.sessions) session.lose(why);
    this.#sessions.clear();
    const { result } = this.#reason;
    this.#listener.closed(this, this.#ending ?? { by: "us", why, result });
  }

  /** Over, and acknowledged. */
  #settle(): void {
    if (this.state !== "idle" || !this.#hasStarted || !this.#delivery.isIdle) return;
    // The peer may not have heard that we have heard its StopCCN.
    if (this.#ending?.by !== "peer") this.#lingersUntil = this.#now;
  }

  #send(type: MessageType, attributes: Attributes): void {
    this.#delivery.send(encodeBody({ type, attributes }, this.#hidingFor(type)));
  }

  /** Nothing is hidden from who has not said that it authenticates. */
  #hidingFor(type: MessageType) {
    if (!this.#settings.hidesValues || this.#hidingKey === null || type === "SCCRQ") return null;
    const { hashes, random } = this.#surroundings;
    const padding = (random(1)[0] ?? 0) % (MAX_PADDING_OCTETS + 1);
    return {
      hashes,
      key: this.#hidingKey,
      vector: random(VECTOR_OCTETS),
      padding: random(padding),
    };
  }

  #flush(): void {
    for (const { ns, nr, item } of this.#delivery.poll(this.#now)) this.#transmit(ns, nr, item);
    const owed = this.#delivery.takeAcknowledgement();
    if (owed !== null) this.#transmit(owed.ns, owed.nr, ACKNOWLEDGEMENT);
    if (this.#delivery.isExhausted && this.state !== "idle") {
      this.#lose("the peer does not acknowledge");
    }
  }

  #transmit(ns: number, nr: number, body: EncodedBody): void {
    const { hashes, transmit } = this.#surroundings;
    const { connectionId } = this.peer;
    const digests = this.#digestKeys.map(() => this.#settings.digest);
    const { octets, digests: places } = encodeMessage({ connectionId, ns, nr }, body, digests);
    const nonces =
      body.type === "SCCRQ" ? NO_NONCES : { sender: this.#nonce, receiver: this.#peerNonce };
    sign(hashes, octets, places, this.#digestKeys, nonces);
    transmit(octets);
  }
}

const ACKNOWLEDGEMENT: EncodedBody = { type: "ACK", avps: NO_OCTETS };

function complaint({ what, type, name }: Flaw): ResultCode {
  const message = `${what}: ${name ?? `AVP ${type}`}`;
  const error = what === "unknown" ? GeneralError.UnknownMandatory : GeneralError.OutOfRange;
  return { result: StopResult.GeneralError, error, message };
}

function timeout(result: number = StopResult.StateMachine): ResultCode {
  return { result, error: GeneralError.None, message: "not established in time" };
}

function invalidId(message: string): ResultCode {
  const result = DisconnectResult.GeneralError;
  return { result, error: GeneralError.InvalidSessionId, message };
}

function unknownSession(): ResultCode {
  return invalidId("nobody has this session");
}
