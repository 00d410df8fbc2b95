/** One session of a control connection: its state table at work. Time and chance come from outside. */
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

/** A session as its owner wants it. */
export interface SessionConfig extends SessionTerms {
  /** Unique among the sessions of the endpoint. */
  readonly key: string;
  /** The request with which we place the call; null: we wait for the peer's. */
  readonly callRequest: "ICRQ" | "OCRQ" | null;
  /** What frames that come must carry: 0, 8 or 16 hexadecimal digits; null: chosen by chance. */
  readonly rxCookie: string | null;
}

/** What a session that carries frames carries them with. */
export interface EstablishedSession extends Agreement {
  readonly key: string;
  readonly sessionId: number;
  readonly peerSessionId: number;
  readonly rxCookie: string;
  readonly txCookie: string;
  readonly peerCircuit: CircuitStatus;
  readonly peerMtu: number | null;
}

/** Why a session is over. */
export interface Ending {
  readonly by: "us" | "peer" | "connection";
  readonly why: string;
  /** The code that was said, where one was. */
  readonly result: number | null;
}

/** One that a StopCCN or CDN tells. */
export function endingOf(by: "us" | "peer", of: "StopCCN" | "CDN", code: ResultCode): Ending {
  return { by, why: describeResult(of, code), result: code.result };
}

/** What a session needs of its connection. */
export interface SessionHost {
  send(type: MessageType, attributes: Attributes): void;
  established(session: ControlSession): void;
  /** The peer's circuit has changed. */
  circuitChanged(session: ControlSession): void;
  over(session: ControlSession, ending: Ending): void;
}

export const CALL_LOST = "the peer's call has won";

const NAMES = {
  ICRQ: { request: "ICRQ", reply: "ICRP", connected: "ICCN" },
  OCRQ: { request: "OCRQ", reply: "OCRP", connected: "OCCN" },
} as const;

export class ControlSession {
  readonly config: SessionConfig;
  readonly role: SessionRole;
  /** What we receive on. Each attempt has another: nobody mixes up what is said of one with the next. */
  readonly localId: number;
  readonly rxCookie: string;
  /** 16 hexadecimal digits; null: we have asked for nothing. */
  readonly tieBreaker: string | null;
  /** Names of the switches that our own call comes by; none: the session is not switched. */
  readonly aggregators: readonly string[];
  /** Names of the switches that the peer's call came by. */
  peerAggregators: readonly string[] = [];
  phase: SessionPhase = "idle";
  peer: PeerTerms;
  #circuit: CircuitStatus;
  /** Of our circuit, as the peer knows it. */
  #told = 0;
  readonly #serialNumber: number;
  readonly #host: SessionHost;
  /** What we say when we send a CDN. */
  #reason: ResultCode = { result: DisconnectResult.Administrative };
  #ending: Ending | null = null;

  constructor(
    config: SessionConfig,
    role: SessionRole,
    circuit: CircuitStatus,
    chance: {
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
    this.localId = chance.localId;
    this.rxCookie = chance.rxCookie;
    this.tieBreaker = chance.tieBreaker;
    this.#serialNumber = chance.serialNumber;
    this.aggregators = chance.aggregators;
    this.#circuit = circuit;
    this.#host = host;
    this.peer = peerTerms({});
  }

  get #names() {
    return this.role.startsWith("ICRQ") ? NAMES.ICRQ : NAMES.OCRQ;
  }

  /** We place a call. */
  open(): void {
    this.#handle("local open");
    this.#handle("control connection open");
  }

  /** The peer asks for the session, and the config is for it. */
  accept(said: Attributes): void {
    this.peer = peerTerms(said);
    this.peerAggregators = said.aggregators ?? [];
    const why = objection(this.config, said) ?? loopOf(this.aggregators, said);
    if (why !== null) this.#reason = why;
    this.#handle(why === null ? "request, acceptable" : "request, not acceptable");
    // Ours have no switch to dial: the circuit is there.
    if (this.phase === "wait-cs-answer") this.#handle("call placed");
  }

  /** Whatever else is wrong with a message: a CDN, too, is addressed to it (5.4.4). */
  learnId({ localSessionId = 0 }: Attributes): void {
    if (this.peer.sessionId === 0) this.peer = { ...this.peer, sessionId: localSessionId };
  }

  /** A message about this session. */
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

  /** Whether the peer may say so now. */
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

  /** The peer asks for the same circuit, and has the lower tie breaker. It is over; the peer's call counts. */
  loseTie(): void {
    this.#ending = { by: "us", why: CALL_LOST, result: null };
    this.#handle("request, lose tie breaker");
  }

  /** The owner wants it no longer. */
  close(why: string, result: number = DisconnectResult.Administrative): void {
    this.#reason = { result, error: GeneralError.None, message: why };
    this.#ending = { by: "us", why, result };
    this.#handle("local close");
  }

  /** Something about it is wrong: says so, and is over. */
  abort(reason: ResultCode): void {
    if (this.phase === "idle") return;
    this.#reason = reason;
    this.#ending = endingOf("us", "CDN", reason);
    if (this.phase !== "wait-control-conn") this.#do("send CDN");
    this.phase = "idle";
    this.#do("clean up");
  }

  /** The control connection is gone: nothing is said. */
  lose(why: string): void {
    if (this.phase === "idle") return;
    this.phase = "idle";
    this.#ending = { by: "connection", why, result: null };
    this.#do("clean up");
  }

  /** Our circuit has changed. */
  setCircuit(circuit: CircuitStatus): void {
    this.#circuit = circuit;
    if (this.phase === "established") this.#tellCircuit();
  }

  /** Unless the peer knows: it may have changed since our last message. */
  #tellCircuit(): void {
    const before = this.#told;
    const circuitStatus = this.#circuitStatus();
    if (circuitStatus !== before) this.#host.send("SLI", { ...this.#ids(), circuitStatus });
  }

  /** For a message that is sent now. */
  #circuitStatus(): number {
    this.#told = encodeCircuitStatus(this.#circuit);
    return this.#told;
  }

  /** @throws RangeError before it is established */
  established(): EstablishedSession {
    if (this.phase !== "established") throw new RangeError(`session ${this.config.key}`);
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
        // The connection is open when we get here, and there is nothing to dial.
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
    message: "a local session id of 0",
  };
}
