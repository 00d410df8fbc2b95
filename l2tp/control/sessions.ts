/** The sessions of one control connection: dispatches messages, and decides ties. */
import type { Attributes } from "./attributes.ts";
import type { CircuitStatus } from "./circuit-status.ts";
import { complaint, type Flaw } from "./flaw.ts";
import type { MessageType } from "./message-type.ts";
import { type Octets, toHex } from "./octets.ts";
import { DisconnectResult, GeneralError } from "./result-code.ts";
import { ControlSession, type SessionConfig, type SessionHost } from "./session.ts";
import type { SessionRole } from "./session-tables.ts";
import type { ResultCode } from "./value-formats.ts";

const COOKIE_OCTETS = 8;
export const TIE_BREAKER_OCTETS = 8;

/** Services that sessions need from their owner. */
export interface SessionSurroundings {
  /** Returns unpredictable octets. */
  random(count: number): Octets;
  /** Returns a session ID that is free at the local endpoint. */
  newSessionId(): number;
  /** Returns the session that an ICRQ or OCRQ asks for, or the reason of its refusal. */
  match(said: Attributes): SessionConfig | ResultCode;
  /** Returns the present circuit status of a session. */
  circuit(key: string): CircuitStatus;
  /** Returns the names of the switches that our call of a session has passed; none: it is not switched. */
  aggregators(key: string): readonly string[];
}

export class Sessions {
  /** Sessions by our session ID. */
  readonly #sessions = new Map<number, ControlSession>();
  /** One session per key: see `tie`. */
  readonly #byKey = new Map<string, ControlSession>();
  /** Deadlines of sessions that are not established yet, oldest first. */
  readonly #pending = new Map<ControlSession, number>();
  readonly #surroundings: SessionSurroundings;
  readonly #host: SessionHost;
  readonly #setupMs: number;
  #serialNumber = 0;

  constructor(surroundings: SessionSurroundings, host: SessionHost, setupMs: number) {
    this.#surroundings = surroundings;
    this.#setupMs = setupMs;
    this.#host = {
      ...host,
      established: (session) => {
        this.#pending.delete(session);
        host.established(session);
      },
      over: (session, ending) => {
        this.#sessions.delete(session.localId);
        if (this.#byKey.get(session.config.key) === session) this.#byKey.delete(session.config.key);
        this.#pending.delete(session);
        host.over(session, ending);
      },
    };
  }

  get all(): readonly ControlSession[] {
    return [...this.#sessions.values()];
  }

  of(key: string): ControlSession | undefined {
    return this.#byKey.get(key);
  }

  /** Sends the request of a session. */
  open(config: SessionConfig, now: number): void {
    if (config.callRequest !== null)
      this.#create(config, `${config.callRequest} sender`, true, now).open();
  }

  receive(type: MessageType, said: Attributes, fatal: Flaw | undefined, now: number): void {
    if (type === "ICRQ" || type === "OCRQ") return this.#request(type, said, fatal, now);
    const session = this.#find(said);
    if (session === undefined) {
      // Messages of unknown sessions are refused, except those that need no answer, such as a CDN.
      if (type !== "CDN" && type !== "WEN" && type !== "SLI") {
        this.#refuse(said, invalidId("unknown session ID"));
      }
      return;
    }
    if (fatal !== undefined && type !== "CDN") {
      session.learnId(said);
      return session.abort(complaint(fatal));
    }
    session.receive(type, said);
  }

  /** Aborts sessions whose setup has timed out. */
  poll(now: number): void {
    const reason = {
      result: DisconnectResult.StateMachine,
      error: GeneralError.None,
      message: "not established in time",
    };
    for (const [session, until] of this.#pending) if (now >= until) session.abort(reason);
  }

  deadline(): number {
    const [oldest = Number.POSITIVE_INFINITY] = this.#pending.values();
    return oldest;
  }

  /** Ends all sessions, because the connection has ended. */
  lose(why: string): void {
    for (const session of this.all) session.lose(why);
  }

  /** Finds a session by our ID, or by the peer's ID while the peer does not know ours (5.4.4, Remote Session ID). */
  #find({ localSessionId, remoteSessionId }: Attributes): ControlSession | undefined {
    if (remoteSessionId) return this.#sessions.get(remoteSessionId);
    if (!localSessionId) return undefined;
    return this.all.find(({ peer }) => peer.sessionId === localSessionId);
  }

  #request(type: "ICRQ" | "OCRQ", said: Attributes, fatal: Flaw | undefined, now: number): void {
    if (fatal !== undefined) return this.#refuse(said, complaint(fatal));
    if (!said.localSessionId) return this.#refuse(said, invalidId("local session ID 0"));
    const config = this.#surroundings.match(said);
    if (!("key" in config)) return this.#refuse(said, config);
    const known = this.of(config.key);
    const refusal = known === undefined ? null : tie(known, said);
    if (refusal !== null) return this.#refuse(said, refusal);
    this.#create(config, `${type} recipient`, false, now).accept(said);
  }

  /** Sends a CDN with the peer's IDs in swapped roles. */
  #refuse({ localSessionId, remoteSessionId }: Attributes, resultCode: ResultCode): void {
    const ids = { localSessionId: remoteSessionId ?? 0, remoteSessionId: localSessionId ?? 0 };
    this.#host.send("CDN", { resultCode, ...ids });
  }

  #create(config: SessionConfig, role: SessionRole, asks: boolean, now: number): ControlSession {
    const { random, circuit, newSessionId, aggregators } = this.#surroundings;
    const drawn = {
      localId: newSessionId(),
      rxCookie: config.rxCookie ?? toHex(random(COOKIE_OCTETS)),
      tieBreaker: asks ? toHex(random(TIE_BREAKER_OCTETS)) : null,
      serialNumber: ++this.#serialNumber,
      aggregators: aggregators(config.key),
    };
    const session = new ControlSession(config, role, circuit(config.key), drawn, this.#host);
    this.#sessions.set(session.localId, session);
    this.#byKey.set(config.key, session);
    this.#pending.set(session, now + this.#setupMs);
    return session;
  }
}

/**
 * Decides about a request for a circuit that already has a session (5.4.4, Session Tie Breaker).
 * @returns the reason of its refusal; null: the request wins, and the session has ended
 */
function tie(session: ControlSession, { tieBreaker }: Attributes): ResultCode | null {
  const lost = { result: DisconnectResult.LostTieBreaker };
  if (session.phase !== "wait-reply") {
    const message = "Remote End ID already in use";
    return { result: DisconnectResult.NoFacilitiesNow, error: GeneralError.None, message };
  }
  const ours = session.tieBreaker;
  if (tieBreaker === undefined) {
    if (ours !== null) return lost;
  } else if (ours === null || tieBreaker < ours) {
    session.loseTie();
    return null;
  } else if (ours < tieBreaker) return lost;
  // Equal tie breakers: both ends abort, and retry.
  session.abort(lost);
  return lost;
}

function invalidId(message: string): ResultCode {
  const result = DisconnectResult.GeneralError;
  return { result, error: GeneralError.InvalidSessionId, message };
}
