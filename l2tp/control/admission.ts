/**
 * Decides from a control message's header alone whether the message is decoded: each peer has
 * budgets, so that a flood in a peer's name costs little, and costs other peers nothing. Nothing
 * here allocates for a message.
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
 * A request makes us compute, answer and keep something until its sender confirms it. A peer sends
 * one when it begins, and repeats it.
 */
const REQUESTS: LaneBudgets = {
  first: { burst: 16, perSecond: 5 },
  repeats: { burst: 8, perSecond: 5 },
};
/**
 * Messages that are next in the order of their connection. A thousand sessions need three thousand,
 * as fast as both ends can; eight thousand sessions are set up at full speed before the steady rate
 * counts.
 */
const DUE: LaneBudgets = {
  first: { burst: 8192, perSecond: 2000 },
  repeats: { burst: 64, perSecond: 100 },
};
/**
 * Repeated or impossible messages of a connection; the peer may wait for us to acknowledge them
 * again.
 */
const STALE: LaneBudgets = {
  first: { burst: 64, perSecond: 50 },
  repeats: { burst: 16, perSecond: 20 },
};

interface LaneBudgets {
  readonly first: Budget;
  /** For messages that come again when `first` is spent. */
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

/** The budgets of one address at one local endpoint. */
export class PeerBudget {
  /** Requests to begin a connection. */
  readonly requests = new Lane(REQUESTS);
  /** Requests by the names that the peer had when it last established a connection. */
  readonly familiar = new Lane(REQUESTS);
  /** The names, as introductionOf has them; 0: none yet. */
  introduction = 0;
  /** Messages that were dropped unread. */
  dropped = 0;
}

/** The budgets of one connection: a flood at an old one does not starve the one that replaces it. */
export class ConnectionBudget {
  readonly due = new Lane(DUE);
  readonly stale = new Lane(STALE);
}

/** Judges the numbers of a message by the connection that the message names. */
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
   * @param drawSeed random, so that a sender cannot foresee which messages share a slot; called
   * once, when needed
   */
  constructor(drawSeed: () => number, find: FindConnection<P>) {
    this.#drawSeed = drawSeed;
    this.#find = find;
  }

  /** Admits the message to be decoded, or counts it as dropped. @param end the offset behind it */
  admits(peer: P, view: DataView, at: number, end: number, now: number): boolean {
    const lane = this.#laneOf(peer, view, at, end);
    if (lane !== null && this.#pays(lane, view, at, now)) return true;
    peer.budget.dropped++;
    return false;
  }

  /** null: nothing can come of the message. */
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
