/** A rate limit with bursts. Time comes from the caller. */

export interface Budget {
  /** Maximum number of tokens at once. */
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #filledAt = Number.NEGATIVE_INFINITY;

  /** Creates a full bucket. */
  constructor({ burst, perSecond }: Budget) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#tokens = burst;
  }

  /** Takes a token. Returns false if none is left. @param now milliseconds of a monotonic clock */
  take(now: number): boolean {
    if (now > this.#filledAt) {
      const earned = (now - this.#filledAt) * this.#perMs;
      this.#tokens = Math.min(this.#burst, this.#tokens + earned);
      this.#filledAt = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
