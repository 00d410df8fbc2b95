/** The sessions of one control connection: which message is for which of them, and which of two wins a tie. */
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

/** What sessions have of the world outside. */
export interface SessionSurroundings {
  /** Octets that nobody can guess. */
  random(count: number): Octets;
  /** A session id that nobody has at the local endpoint. */
  newSessionId(): number;
  /** The session that an ICRQ or OCRQ is for; or why there is none. */
  match(said: Attributes): SessionConfig | ResultCode;
  /** The circuit of one of our sessions, now. */
  circuit(key: string): CircuitStatus;
  /** Names of the switches that a call of one of our sessions comes by; none: it is not switched. */
  aggregators(key: string): readonly string[];
}

export class Sessions {
  /** By our session id. */
  readonly #sessions = new Map<number, ControlSession>();
  /** There is one for a key at a time: see `tie`. */
  readonly #byKey = new Map<string, ControlSession>();
  /** Not established yet, and when they are to be; the oldest first. */
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

  /** Places a call. */
  open(config: SessionConfig, now: number): void {
    if (config.callRequest !== null)
      this.#create(config, `${config.callRequest} sender`, true, now).open();
  }

  receive(type: MessageType, said: Attributes, fatal: Flaw | undefined, now: number): void {
    if (type === "ICRQ" || type === "OCRQ") return this.#request(type, said, fatal, now);
    const session = this.#find(said);
    if (session === undefined) {
      // Whoever talks of what is gone is told so, and a CDN is never answered.
      if (type !== "CDN" && type !== "WEN" && type !== "SLI") {
        this.#refuse(said, invalidId("nobody has this session"));
      }
      return;
    }
    if (fatal !== undefined && type !== "CDN") {
      session.learnId(said);
      return session.abort(complaint(fatal));
    }
    session.receive(type, said);
  }

  /** Gives up what should be established by now. */
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

  /** The connection is gone. */
  lose(why: string): void {
    for (const session of this.all) session.lose(why);
  }

  /** By our id; and by the peer's while it does not know ours (5.4.4, Remote Session ID). */
  #find({ localSessionId, remoteSessionId }: Attributes): ControlSession | undefined {
    if (remoteSessionId) return this.#sessions.get(remoteSessionId);
    if (!localSessionId) return undefined;
    return this.all.find(({ peer }) => peer.sessionId === localSessionId);
  }

  #request(type: "ICRQ" | "OCRQ", said: Attributes, fatal: Flaw | undefined, now: number): void {
    if (fatal !== undefined) return this.#refuse(said, complaint(fatal));
    if (!said.localSessionId) return this.#refuse(said, invalidId("a local session id of 0"));
    const config = this.#surroundings.match(said);
    if (!("key" in config)) return this.#refuse(said, config);
    const known = this.of(config.key);
    const refusal = known === undefined ? null : tie(known, said);
    if (refusal !== null) return this.#refuse(said, refusal);
    this.#create(config, `${type} recipient`, false, now).accept(said);
  }

  /** The ids as the peer has said them, the other way round. */
  #refuse({ localSessionId, remoteSessionId }: Attributes, resultCode: ResultCode): void {
    const ids = { localSessionId: remoteSessionId ?? 0, remoteSessionId: localSessionId ?? 0 };
    this.#host.send("CDN", { resultCode, ...ids });
  }

  #create(config: SessionConfig, role: SessionRole, asks: boolean, now: number): ControlSession {
    const { random, circuit, newSessionId, aggregators } = this.#surroundings;
    const chance = {
      localId: newSessionId(),
      rxCookie: config.rxCookie ?? toHex(random(COOKIE_OCTETS)),
      tieBreaker: asks ? toHex(random(TIE_BREAKER_OCTETS)) : null,
      serialNumber: ++this.#serialNumber,
      aggregators: aggregators(config.key),
    };
    const session = new ControlSession(config, role, circuit(config.key), chance, this.#host);
    this.#sessions.set(session.localId, session);
    this.#byKey.set(config.key, session);
    this.#pending.set(session, now + this.#setupMs);
    return session;
  }
}

/**
 * What becomes of a request for a circuit that we have a session for (5.4.4, Session Tie Breaker). null: the request
 * counts, and the session is gone.
 */
function tie(session: ControlSession, { tieBreaker }: Attributes): ResultCode | null {
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

function invalidId(message: string): ResultCode {
  const result = DisconnectResult.GeneralError;
  return { result, error: GeneralError.InvalidSessionId, message };
}
