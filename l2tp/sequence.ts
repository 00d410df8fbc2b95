/** Arithmetic on the 24-bit sequence numbers of the default L2-Specific Sublayer (RFC 3931 §4.6). */

export const SEQUENCE_MASK = 0xff_ffff;
const HALF = 0x80_0000;

/** Returns the following sequence number, modulo 2²⁴ (RFC 3931, 4.6). */
export function nextSequence(sequence: number): number {
  return (sequence + 1) & SEQUENCE_MASK;
}

/** Returns the steps from `from` to `to`: −2²³ to 2²³−1; negative if `to` is behind. */
export function sequenceDistance(from: number, to: number): number {
  return ((to - from + HALF) & SEQUENCE_MASK) - HALF;
}

/** Numbers further back in a run count as duplicates. */
const REMEMBERED = 31;

/** Numbers further apart do not belong to one count. */
export const NEAR = 64;

/** Required share of rising steps in a run: no sender counts backwards. */
const RISES = 2;

/** A run of numbers that can be one sender's count: close together, and mostly rising. */
export class NumberRun {
  /** Numbers in the run, each once. */
  #count = 0;
  /** Numbers that were higher than their predecessor. */
  #rises = 0;
  #latest = 0;
  #highest = 0;
  /** Bit n: `#highest` − n was received. */
  #seen = 0;

  /** True if it has `count` numbers, and enough of them rise. */
  has(count: number): boolean {
    return this.#count >= count && this.#rises >= RISES;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Adds a number. A number far from the others restarts the run. */
  add(sequence: number): void {
    const ahead = sequenceDistance(this.#highest, sequence);
    if (this.#count === 0 || ahead >= NEAR || ahead <= -NEAR) {
      this.#count = 1;
      this.#rises = 0;
      this.#highest = sequence;
      this.#seen = 1;
    } else if (ahead > 0) {
      this.#count++;
      this.#rises++;
      this.#highest = sequence;
      this.#seen = ahead < REMEMBERED ? ((this.#seen << ahead) & 0x7fff_ffff) | 1 : 1;
    } else if (ahead > -REMEMBERED) {
      const bit = 1 << -ahead;
      if ((this.#seen & bit) !== 0) return;
      this.#seen |= bit;
      this.#count++;
      if (sequenceDistance(this.#latest, sequence) > 0) this.#rises++;
    } else return;
    this.#latest = sequence;
  }
}
