/** One session of a control connection, driven by its state table. Time and random values come from the caller. */
import type { Attributes } from "./attributes.ts";
import { type CircuitStatus, encodeCircuitStatus } from "./circuit-status.ts";
import type { MessageType } from "./message-type.ts";
import {
  type Agreement,
  agree,
  describeAgreement,
  describeTerms,
  objection,
  type PeerTerms,
  peerTerms,
  type SessionTerms,
} from "./negotiation.ts";
import { DisconnectResult, describeResult, GeneralError } from "./result-code.ts";
import {
  SESSION_TABLES,
  type SessionAction,
  type SessionEvent,
  type SessionPhase,
  type SessionRole,
} from "./session-tables.ts";
import { loopOf } from "./switching.ts";
import type { ResultCode } from "./value-formats.ts";

/** The configuration of a session. */
export interface SessionConfig extends SessionTerms {
  /** Unique among the sessions of the endpoint. */
  readonly key: string;
  /** The request that we send; null: we wait for the peer's request. */
  readonly callRequest: "ICRQ" | "OCRQ" | null;
  /** Required cookie of received frames: 0, 8 or 16 hexadecimal digits; null: random. */
  readonly rxCookie: string | null;
}

/** The negotiated values of an established session. */
export interface EstablishedSession extends Agreement {
  readonly key: string;
  readonly sessionId: number;
  readonly peerSessionId: number;
  readonly rxCookie: string;
  readonly txCookie: string;
  readonly peerCircuit: CircuitStatus;
  readonly peerMtu: number | null;
}

/** The end of a session or connection. */
export interface Ending {
  readonly by: "us" | "peer" | "connection";
  readonly why: string;
  /** The result code of the message; null: none was sent. */
  readonly result: number | null;
  /** The message's Result Code AVP (RFC 3931, 5.4.2), which a switch relays. */
  readonly code?: ResultCode;
}

/** Returns the ending that a StopCCN or CDN describes. */
export function endingOf(by: "us" | "peer", of: "StopCCN" | "CDN", code: ResultCode): Ending {
  return { by, why: describeResult(of, code), result: code.result, code };
}

/** Services that a session needs from its connection. */
export interface SessionHost {
  send(type: MessageType, attributes: Attributes): void;
  established(session: ControlSession): void;
  /** The peer's circuit has changed. */
  circuitChanged(session: ControlSession): void;
  over(session: ControlSession, ending: Ending): void;
}

export const CALL_LOST = "the peer's session request won the tie breaker";

const NAMES = {
  ICRQ: { request: "ICRQ", reply: "ICRP", connected: "ICCN" },
  OCRQ: { request: "OCRQ", reply: "OCRP", connected: "OCCN" },
} as const;

export class ControlSession {
  readonly config: SessionConfig;
  readonly role: SessionRole;
  /** The session ID in received messages. Each attempt has a new one, so that messages are not mixed up. */
  readonly localId: number;
  readonly rxCookie: string;
  /** 16 hexadecimal digits; null: we sent no request. */
  readonly tieBreaker: string | null;
  /** Names of the switches that our call has passed; none: the session is not switched. */
  readonly aggregators: readonly string[];
  /** Names of the switches that the peer's call has passed. */
  peerAggregators: readonly string[] = [];
  phase: SessionPhase = "idle";
  peer: PeerTerms;
  #circuit: CircuitStatus;
  /** Status of our circuit that was last sent to the peer. */
  #told = 0;
  readonly #serialNumber: number;
  readonly #host: SessionHost;
  /** The result code of our CDN. */
  #reason: ResultCode = { result: DisconnectResult.Administrative };
  #ending: Ending | null = null;

  constructor(
    config: SessionConfig,
    role: SessionRole,
    circuit: CircuitStatus,
    random: {
      readonly localId: number;
      readonly rxCookie: string;
      readonly tieBreaker: string | null;
      readonly serialNumber: number;
      readonly aggregators: readonly string[];
    },
    host: SessionHost,
  ) {
    this.config = config;
    this.role = role;
    this.localId = random.localId;
    this.rxCookie = random.rxCookie;
    this.tieBreaker = random.tieBreaker;
    this.#serialNumber = random.serialNumber;
    this.aggregators = random.aggregators;
    this.#circuit = circuit;
    this.#host = host;
    this.peer = peerTerms({});
  }

  get #names() {
    return this.role.startsWith("ICRQ") ? NAMES.ICRQ : NAMES.OCRQ;
  }

  /** Sends our request. */
  open(): void {
    this.#handle("local open");
    this.#handle("control connection open");
  }

  /** Handles the peer's request for this session. */
  accept(said: Attributes): void {
    this.peer = peerTerms(said);
    this.peerAggregators = said.aggregators ?? [];
    const why = objection(this.config, said) ?? loopOf(this.aggregators, this.peerAggregators);
    if (why !== null) this.#reason = why;
    this.#handle(why === null ? "request, acceptable" : "request, not acceptable");
    // There is no call to place: the circuit exists.
    if (this.phase === "wait-cs-answer") this.#handle("call placed");
  }

  /** Learns the peer's ID even from a faulty message, because a CDN must carry it (5.4.4). */
  learnId({ localSessionId = 0 }: Attributes): void {
    if (this.peer.sessionId === 0) this.peer = { ...this.peer, sessionId: localSessionId };
  }

  /** Handles a message of this session. */
  receive(type: MessageType, said: Attributes): void {
    if (type === "CDN") return this.#disconnected(said);
    if (type === "SLI") return this.#hearCircuit(said);
    if (type === "WEN") return;
    const { request, reply, connected } = this.#names;
    const kind = { [request]: "request", [reply]: "reply", [connected]: "connected" }[type];
    if (kind === undefined) return this.abort(outOfState(type));
    const isReply = kind === "reply";
    const expected = this.#isExpected(kind);
    const why = expected ? this.#objection(said, isReply) : outOfState(type);
    if (expected && why === null) this.peer = peerTerms(said, this.peer);
    else this.learnId(said);
    if (why !== null) this.#reason = why;
    this.#handle(`${kind}, ${why === null ? "acceptable" : "not acceptable"}` as SessionEvent);
  }

  /** True if the state permits the message. */
  #isExpected(kind: string): boolean {
    return (
      SESSION_TABLES[this.role].find(this.phase, `${kind}, acceptable` as SessionEvent)?.next !==
      "idle"
    );
  }

  #objection(said: Attributes, isReply: boolean): ResultCode | null {
    if (isReply && !said.localSessionId) return missingId();
    return objection(this.config, said);
  }

  /** Ends the session: the peer requests the same circuit, and has the lower tie breaker. */
  loseTie(): void {
    this.#ending = { by: "us", why: CALL_LOST, result: null };
    this.#handle("request, lose tie breaker");
  }

  /** Closes the session. @param code the Result Code that is sent to the peer */
  close(code: ResultCode): void {
    this.#reason = code;
    this.#ending = {
      by: "us",
      why: code.message ?? describeResult("CDN", code),
      result: code.result,
    };
    this.#handle("local close");
  }

  /** Ends the session with a CDN because of a fault. */
  abort(reason: ResultCode): void {
    if (this.phase === "idle") return;
    this.#reason = reason;
    this.#ending = endingOf("us", "CDN", reason);
    if (this.phase !== "wait-control-conn") this.#do("send CDN");
    this.phase = "idle";
    this.#do("clean up");
  }

  /** Ends the session without a message, because the control connection has ended. */
  lose(why: string): void {
    if (this.phase === "idle") return;
    this.phase = "idle";
    this.#ending = { by: "connection", why, result: null };
    this.#do("clean up");
  }

  /** Sets the status of our circuit, and signals a change. */
  setCircuit(circuit: CircuitStatus): void {
    this.#circuit = circuit;
    if (this.phase === "established") this.#tellCircuit();
  }

  /** Signals the circuit status if it has changed since our last message. */
  #tellCircuit(): void {
    const before = this.#told;
    const circuitStatus = this.#circuitStatus();
    if (circuitStatus !== before) this.#host.send("SLI", { ...this.#ids(), circuitStatus });
  }

  /** Returns the status for a message that is sent now. */
  #circuitStatus(): number {
    this.#told = encodeCircuitStatus(this.#circuit);
    return this.#told;
  }

  /** Returns the negotiated values. @throws RangeError before the session is established */
  established(): EstablishedSession {
    if (this.phase !== "established")
      throw new RangeError(`session ${this.config.key} is not established`);
    return {
      key: this.config.key,
      sessionId: this.localId,
      peerSessionId: this.peer.sessionId,
      rxCookie: this.rxCookie,
      txCookie: this.peer.cookie,
      peerCircuit: this.peer.circuit,
      peerMtu: this.peer.interfaceMtu,
      ...agree(this.config, this.peer),
    };
  }

  #disconnected(said: Attributes): void {
    this.#ending = endingOf("peer", "CDN", said.resultCode ?? { result: 0 });
    this.#handle("CDN");
  }

  #hearCircuit(said: Attributes): void {
    if (this.phase !== "established" || said.circuitStatus === undefined) return;
    this.peer = peerTerms({ circuitStatus: said.circuitStatus }, this.peer);
    this.#host.circuitChanged(this);
  }

  #handle(event: SessionEvent): void {
    const transition = SESSION_TABLES[this.role].find(this.phase, event);
    if (transition === undefined) return;
    this.phase = transition.next;
    for (const action of transition.actions) this.#do(action);
  }

  #do(action: SessionAction): void {
    const { request, reply, connected } = this.#names;
    switch (action) {
      case "send request":
        return this.#host.send(request, {
          ...this.#offer(),
          ...describeTerms(this.config),
          serialNumber: this.#serialNumber,
          pseudowireType: this.config.pseudowireType,
          remoteEndId: this.config.remoteEndId,
          ...(this.tieBreaker === null ? {} : { tieBreaker: this.tieBreaker }),
          ...(this.aggregators.length === 0 ? {} : { aggregators: this.aggregators }),
        });
      case "send reply":
        return this.#host.send(reply, {
          ...this.#offer(),
          ...this.#agreement(),
          pseudowireType: this.config.pseudowireType,
        });
      case "send connected":
        return this.#host.send(connected, {
          ...this.#ids(),
          circuitStatus: this.#circuitStatus(),
          ...this.#agreement(),
        });
      case "send CDN":
        return this.#host.send("CDN", { ...this.#ids(), resultCode: this.#reason });
      case "start data":
        this.#host.established(this);
        return this.#tellCircuit();
      case "clean up":
      case "become recipient":
        return this.#host.over(this, this.#ending ?? endingOf("us", "CDN", this.#reason));
      case "open control connection":
      case "place call":
        // The connection is already open, and there is no call to place.
        return;
    }
  }

  #ids(): Attributes {
    return { localSessionId: this.localId, remoteSessionId: this.peer.sessionId };
  }

  #agreement(): Attributes {
    return describeAgreement(agree(this.config, this.peer));
  }

  #offer(): Attributes {
    const { interfaceMtu } = this.config;
    return {
      ...this.#ids(),
      circuitStatus: this.#circuitStatus(),
      ...(this.rxCookie === "" ? {} : { assignedCookie: this.rxCookie }),
      ...(interfaceMtu === null ? {} : { interfaceMtu }),
    };
  }
}

function outOfState(type: MessageType): ResultCode {
  const message = `${type} in the wrong state`;
  return { result: DisconnectResult.StateMachine, error: GeneralError.None, message };
}

function missingId(): ResultCode {
  return {
    result: DisconnectResult.GeneralError,
    error: GeneralError.InvalidSessionId,
    message: "local session ID 0",
  };
}
