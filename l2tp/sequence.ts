/** Arithmetic on the 24-bit sequence numbers of the default L2-specific sublayer (RFC 3931 §4.6). */

export const SEQUENCE_MASK = 0xff_ffff;
const HALF = 0x80_0000;

export function nextSequence(sequence: number): number {
  return (sequence + 1) & SEQUENCE_MASK;
}

/** Steps forward from `from` to `to`: −2²³ to 2²³−1; negative where `to` lies behind. */
export function sequenceDistance(from: number, to: number): number {
  return ((to - from + HALF) & SEQUENCE_MASK) - HALF;
}

/** Numbers further back in a run than this are not told from duplicates. */
const REMEMBERED = 31;

/** Numbers further apart than this do not belong to one count. */
export const NEAR = 64;

/** How often a run must rise from one number to the next: no sender counts backwards. */
const RISES = 2;

/** A run of numbers that could be of one sender's count: close together, and rising on the whole. */
export class NumberRun {
  /** Numbers in the run, each once. */
  #count = 0;
  /** Numbers that were higher than the one before them. */
  #rises = 0;
  #latest = 0;
  #highest = 0;
  /** Bit n: `#highest` − n has come. */
  #seen = 0;

  /** Whether there are `count` numbers in it, and enough of them rise. */
  has(count: number): boolean {
    return this.#count >= count && this.#rises >= RISES;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Takes a number in; one far from the others begins the run again. */
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
