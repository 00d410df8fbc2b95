/** Exponential backoff with jitter: each wait is random between one and two times its step. */
export class JitteredBackoff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  #stepMs: number;

  constructor(firstMs: number, mostMs: number) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#stepMs = firstMs;
  }

  /** Returns the wait before the next attempt, in milliseconds. */
  next(): number {
    const wait = this.#stepMs * (1 + Math.random());
    this.#stepMs = Math.min(this.#stepMs * 2, this.#mostMs);
    return Math.min(wait, this.#mostMs);
  }

  reset(): void {
    this.#stepMs = this.#firstMs;
  }
}
