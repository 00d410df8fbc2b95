/**
 * Decides from a control message's header whether the message is decoded. Each peer has rate limits, so that a flood in
 * a peer's name costs little, and does not affect other peers. Nothing here allocates for a message.
 */
import {
  connectionIdOf,
  contentOf,
  hasHeader,
  introductionOf,
  isAcknowledgement,
  isRequest,
  nrOf,
  nsOf,
} from "./peek.ts";
import { Repeats } from "./repeats.ts";
import { type Budget, TokenBucket } from "./token-bucket.ts";

/**
 * Limits of requests. A request costs computation, an answer, and state until its sender confirms it. A peer sends one
 * request when it starts, and retransmits it.
 */
const REQUESTS: LaneBudgets = {
  first: { burst: 16, perSecond: 5 },
  repeats: { burst: 8, perSecond: 5 },
};
/**
 * Limits of messages that are next in the order of their connection. A thousand sessions need three thousand. The burst
 * covers the setup of many sessions at full speed before the steady rate applies.
 */
const DUE: LaneBudgets = {
  first: { burst: 8192, perSecond: 2000 },
  repeats: { burst: 64, perSecond: 100 },
};
/**
 * Limits of repeated or impossible messages of a connection. The peer may wait for another acknowledgement.
 */
const STALE: LaneBudgets = {
  first: { burst: 64, perSecond: 50 },
  repeats: { burst: 16, perSecond: 20 },
};

interface LaneBudgets {
  readonly first: Budget;
  /** Limit of retransmissions when `first` is used up. */
  readonly repeats: Budget;
}

class Lane {
  readonly first: TokenBucket;
  readonly repeats: TokenBucket;

  constructor({ first, repeats }: LaneBudgets) {
    this.first = new TokenBucket(first);
    this.repeats = new TokenBucket(repeats);
  }
}

/** The rate limits of one address at one local endpoint. */
export class PeerBudget {
  /** Requests for a connection. */
  readonly requests = new Lane(REQUESTS);
  /** Requests with the names that the peer had when it last established a connection. */
  readonly familiar = new Lane(REQUESTS);
  /** Hash of the names (introductionOf); 0: none yet. */
  introduction = 0;
  /** Number of messages that were dropped before decoding. */
  dropped = 0;
}

/** The rate limits of one connection, so that a flood at an old connection does not starve its replacement. */
export class ConnectionBudget {
  readonly due = new Lane(DUE);
  readonly stale = new Lane(STALE);
}

/** A connection, which checks the numbers of messages. */
export interface Numbered {
  readonly budget: ConnectionBudget;
  isDue(ns: number, nr: number, isAcknowledgement: boolean): boolean;
}

/** Finds a peer's connection by the ID in a message, as a signed number. */
export type FindConnection<P> = (peer: P, connectionId: number) => Numbered | undefined;

export class Admission<P extends { readonly budget: PeerBudget }> {
  readonly #repeats = new Repeats();
  readonly #drawSeed: () => number;
  #seed: number | null = null;
  readonly #find: FindConnection<P>;

  /**
   * @param drawSeed returns a random seed, so that a sender cannot predict collisions; called once, when needed
   */
  constructor(drawSeed: () => number, find: FindConnection<P>) {
    this.#drawSeed = drawSeed;
    this.#find = find;
  }

  /** Admits the message to be decoded, or counts it as dropped. @param end the offset after it */
  admits(peer: P, view: DataView, at: number, end: number, now: number): boolean {
    const lane = this.#laneOf(peer, view, at, end);
    if (lane !== null && this.#pays(lane, view, at, now)) return true;
    peer.budget.dropped++;
    return false;
  }

  /** Returns the limits for the message; null: it must be dropped. */
  #laneOf(peer: P, view: DataView, at: number, end: number): Lane | null {
    if (!hasHeader(view, at, end)) return null;
    const { budget } = peer;
    const id = connectionIdOf(view, at);
    if (id === 0) {
      if (!isRequest(view, at)) return null;
      const isFamiliar =
        budget.introduction !== 0 && budget.introduction === introductionOf(view, at);
      return isFamiliar ? budget.familiar : budget.requests;
    }
    const connection = this.#find(peer, id);
    if (connection === undefined) return null;
    const isDue = connection.isDue(nsOf(view, at), nrOf(view, at), isAcknowledgement(view, at));
    return isDue ? connection.budget.due : connection.budget.stale;
  }

  #pays({ first, repeats }: Lane, view: DataView, at: number, now: number): boolean {
    if (first.take(now)) return true;
    this.#seed ??= this.#drawSeed();
    const isRepeat = this.#repeats.isRepeat(contentOf(view, at, this.#seed), now);
    return isRepeat && repeats.take(now);
  }
}
