/**
 * Recognizes retransmissions: repetitions after a pause, and only a few. A flood repeats at once, or never. The memory
 * is fixed, so a flood cannot make it grow.
 */

/** Number of remembered messages; a power of two. */
const SLOTS = 1 << 17;
/**
 * Shortest pause of a sender: RFC 3931 (4.2) recommends one second, and our shortest pause is 100 ms.
 */
const MIN_PAUSE_MS = 75;
/** Longer than the longest pause between two transmissions. */
const MAX_PAUSE_MS = 20_000;
/** More than the ten retransmissions after which a sender gives up. */
const MAX_REPEATS = 12;

export class Repeats {
  readonly #tags = new Int32Array(SLOTS);
  readonly #seenAt = new Uint32Array(SLOTS);
  readonly #counts = new Uint8Array(SLOTS);

  /**
   * Remembers the message.
   * @param tag a hash of it
   * @returns true if it is a retransmission
   */
  isRepeat(tag: number, now: number): boolean {
    // 0 is an empty slot.
    const key = tag | 0 || 1;
    const first = key & (SLOTS - 2);
    const at = Math.floor(now) >>> 0;
    const slot = this.#find(key, first);
    if (slot < 0) {
      this.#put(key, this.#isOlder(first, first + 1, at) ? first : first + 1, at);
      return false;
    }
    const pause = (at - (this.#seenAt[slot] as number)) >>> 0;
    this.#seenAt[slot] = at;
    if (pause > MAX_PAUSE_MS) this.#counts[slot] = 0;
    if (pause < MIN_PAUSE_MS || pause > MAX_PAUSE_MS) return false;
    const count = this.#counts[slot] as number;
    if (count >= MAX_REPEATS) return false;
    this.#counts[slot] = count + 1;
    return true;
  }

  #find(key: number, first: number): number {
    if (this.#tags[first] === key) return first;
    return this.#tags[first + 1] === key ? first + 1 : -1;
  }

  #put(key: number, slot: number, at: number): void {
    this.#tags[slot] = key;
    this.#seenAt[slot] = at;
    this.#counts[slot] = 0;
  }

  #isOlder(one: number, other: number, at: number): boolean {
    if (this.#tags[one] === 0) return true;
    if (this.#tags[other] === 0) return false;
    const age = (at - (this.#seenAt[one] as number)) >>> 0;
    return age >= (at - (this.#seenAt[other] as number)) >>> 0;
  }
}
