/** Exponential backoff with jitter. */

export interface BackoffSettings {
  readonly firstMs: number;
  readonly capMs: number;
}

export class Backoff {
  readonly #settings: BackoffSettings;
  readonly #random: (count: number) => Uint8Array;
  #failures = 0;

  constructor(settings: BackoffSettings, random: (count: number) => Uint8Array) {
    this.#settings = settings;
    this.#random = random;
  }

  /** Counts a failure. Returns the milliseconds to wait: 75 to 100 % of the pause. */
  next(): number {
    const { firstMs, capMs } = this.#settings;
    const pause = Math.min(firstMs * 2 ** Math.min(this.#failures++, 30), capMs);
    return pause * (1 - (this.#random(1)[0] ?? 0) / 1024);
  }

  succeeded(): void {
    this.#failures = 0;
  }
}
