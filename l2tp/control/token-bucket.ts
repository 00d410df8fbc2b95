/** A budget over time: a burst at once, and a steady rate after it. It has no clock of its own. */

export interface Budget {
  /** The most that can be taken at once. */
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #filledAt = Number.NEGATIVE_INFINITY;

  /** It begins full. */
  constructor({ burst, perSecond }: Budget) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#tokens = burst;
  }

  /** Takes one. False: there is none left. @param now milliseconds of a steady clock */
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
