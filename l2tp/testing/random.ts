/** A reproducible random source: the same seed gives the same values. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Returns a whole number from 0 to `bound` − 1. */
  below(bound: number): number {
    this.#state = (Math.imul(this.#state, 1103515245) + 12345) >>> 0;
    return (this.#state >>> 8) % bound;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Returns the bytes with a few changes, mostly in the header, and sometimes truncated. */
  mutate(original: Uint8Array, headBytes: number): Uint8Array {
    const bytes = Uint8Array.from(original);
    for (let flips = this.below(4); flips > 0 && bytes.length > 0; flips--) {
      const range = this.below(4) === 0 ? bytes.length : Math.min(headBytes, bytes.length);
      bytes[this.below(range)] = this.below(256);
    }
    return this.below(8) === 0 ? bytes.subarray(0, this.below(bytes.length + 1)) : bytes;
  }
}
