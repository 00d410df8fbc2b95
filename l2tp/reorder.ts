/**
 * Receive order of a sequenced session (RFC 3931 §4.6): which frames are late, and a bounded queue
 * that puts early ones back in order. Holds slot numbers only; the frames are the caller's.
 */
import { nextSequence, sequenceDistance } from "./sequence.ts";

/** After so many late frames in a row that are in order among themselves, the sender has restarted. */
const RESYNC_AFTER = 4;

/** What to do with a frame that has just arrived. */
export const ReorderVerdict = {
  /** It is the next one, or the queue does not wait: deliver it now, then drain the queue. */
  Deliver: 0,
  /** Keep it in `slotOf(sequence)`. */
  Hold: 1,
  /** Its turn has passed, or it is here already: drop it. */
  Late: 2,
  /** It is too far ahead: `release()` a held frame and offer again. */
  MakeRoom: 3,
} as const;
export type ReorderVerdict = (typeof ReorderVerdict)[keyof typeof ReorderVerdict];

export class ReceiveOrder {
  readonly capacity: number;
  readonly timeoutMs: number;
  /** Frames that never came, or came too late, as far as is known. */
  skipped = 0;
  /** Times that the sender was found to have restarted its count. */
  resyncs = 0;
  #expected = -1;
  #held = 0;
  #latest = 0;
  #lateRun = 0;
  /** When the frame in the slot has waited long enough; 0 marks an empty slot. */
  readonly #deadlines: Float64Array;

  /**
   * @param timeoutMs how long a frame waits for the ones before it; 0: not at all
   * @param capacity frames held at the most; a power of two
   */
  constructor(timeoutMs: number, capacity = 64) {
    if (capacity < 1 || (capacity & (capacity - 1)) !== 0) {
      throw new RangeError(`capacity ${capacity} is not a power of two`);
    }
    this.timeoutMs = timeoutMs;
    this.capacity = timeoutMs > 0 ? capacity : 0;
    this.#deadlines = new Float64Array(this.capacity);
  }

  get held(): number {
    return this.#held;
  }

  slotOf(sequence: number): number {
    return sequence & (this.capacity - 1);
  }

  /** @param now milliseconds of any steady clock, above 0 */
  offer(sequence: number, now: number): ReorderVerdict {
    if (this.#expected < 0) this.#expected = sequence;
    const ahead = sequenceDistance(this.#expected, sequence);
    if (ahead < 0) return this.#offerLate(sequence);
    this.#lateRun = 0;
    if (ahead === 0 || this.capacity === 0) {
      this.skipped += ahead;
      this.#expected = nextSequence(sequence);
      return ReorderVerdict.Deliver;
    }
    if (ahead >= this.capacity) {
      if (this.#held > 0) return ReorderVerdict.MakeRoom;
      // Nothing waits, so nothing before this frame is worth a slot: start again from near it.
      const target = (sequence - this.capacity + 1) & 0xff_ffff;
      this.skipped += sequenceDistance(this.#expected, target);
      this.#expected = target;
      if (this.capacity === 1) return this.offer(sequence, now);
    }
    const slot = this.slotOf(sequence);
    if (this.#deadlines[slot] !== 0) return ReorderVerdict.Late;
    this.#deadlines[slot] = now + this.timeoutMs;
    this.#held++;
    return ReorderVerdict.Hold;
  }

  /** The slot of a frame that is to be delivered now, which is then free; −1: none. */
  next(now: number): number {
    if (this.#held === 0) return -1;
    const slot = this.slotOf(this.#expected);
    if (this.#deadlines[slot] !== 0) return this.#take(slot);
    return this.deadline() <= now ? this.release() : -1;
  }

  /** As `next`, but waits no longer for what is missing. */
  release(): number {
    if (this.#held === 0) return -1;
    while (this.#deadlines[this.slotOf(this.#expected)] === 0) {
      this.#expected = nextSequence(this.#expected);
      this.skipped++;
    }
    return this.#take(this.slotOf(this.#expected));
  }

  /** When the first of the held frames has waited long enough; Infinity where none waits. */
  deadline(): number {
    if (this.#held === 0) return Number.POSITIVE_INFINITY;
    let earliest = Number.POSITIVE_INFINITY;
    for (const deadline of this.#deadlines) {
      if (deadline !== 0 && deadline < earliest) earliest = deadline;
    }
    return earliest;
  }

  #take(slot: number): number {
    this.#deadlines[slot] = 0;
    this.#held--;
    this.#expected = nextSequence(this.#expected);
    return slot;
  }

  #offerLate(sequence: number): ReorderVerdict {
    const follows = this.#lateRun > 0 && sequence === nextSequence(this.#latest);
    const run = follows ? this.#lateRun + 1 : 1;
    if (run > RESYNC_AFTER && this.#held > 0) return ReorderVerdict.MakeRoom;
    this.#latest = sequence;
    this.#lateRun = run;
    if (run <= RESYNC_AFTER) return ReorderVerdict.Late;
    this.#lateRun = 0;
    this.resyncs++;
    this.#expected = nextSequence(sequence);
    return ReorderVerdict.Deliver;
  }
}
