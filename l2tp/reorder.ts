/**
 * Receive order of a sequenced session (RFC 3931 §4.6): detects late frames, and reorders early ones in a bounded
 * queue. It holds slot numbers only; the caller holds the frames.
 */
import { NEAR, NumberRun, nextSequence, SEQUENCE_MASK, sequenceDistance } from "./sequence.ts";

/** Number of consecutive frames of another count after which the sender counts as restarted. */
const RESYNC_AFTER = 5;

/** Limit of doublings of RESYNC_AFTER, one each time that the sender had not restarted after all. */
const DOUBLINGS = 4;

/** Number of frames of a count ahead after which the skipped numbers count as lost. */
const CONFIRMED_AFTER = 3;

/** A leap over more numbers is a restart, not a loss. */
const LOST_AT_MOST = 0xffff;

/** Number of frames of one count after which the previous count has ended. */
const SETTLED_AFTER = 1024;

/** The decision about a received frame. */
export const ReorderVerdict = {
  /** It is the next frame, or the queue does not wait: deliver it now, then drain the queue. */
  Deliver: 0,
  /** Keep it in `slotOf(sequence)`. */
  Hold: 1,
  /** It is late, or a duplicate of a held frame: drop it. */
  Late: 2,
  /** It is too far ahead: `release()` a held frame and offer again. */
  MakeRoom: 3,
} as const;
export type ReorderVerdict = (typeof ReorderVerdict)[keyof typeof ReorderVerdict];

export class ReceiveOrder {
  readonly capacity: number;
  readonly timeoutMs: number;
  /** Number of frames known to be lost or late. */
  skipped = 0;
  /** Number of changes to another count, because the sender has restarted, or had not restarted after all. */
  resyncs = 0;
  /** The next number of the present count. */
  #expected = -1;
  /** The number after the highest received one of the present count. */
  #next = -1;
  #held = 0;
  /** The next number of the previous count; −1: it has ended. */
  #left = -1;
  /** Numbers skipped by the change to the present count, until it is confirmed. */
  #leapt = 0;
  /** Number of returns to the previous count since the last settled one. */
  #returns = 0;
  /** Frames since the change to the present count; −1: it is settled. */
  #unsettled = -1;
  /** Frames of another count since the last frame of the present count. */
  readonly #others = new NumberRun();
  /** The last received number, by number modulo the length. */
  readonly #came = new Int32Array(NEAR).fill(-1);
  /** Deadline of the frame in each slot; 0: empty. */
  readonly #deadlines: Float64Array;

  /**
   * @param timeoutMs maximum time to hold an out-of-order frame; 0: no reordering
   * @param capacity maximum number of held frames; a power of two
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

  /** Decides about a received frame. @param now milliseconds of a monotonic clock, above 0 */
  offer(sequence: number, now: number): ReorderVerdict {
    if (this.#expected < 0) {
      this.#expected = sequence;
      this.#next = sequence;
    }
    let ahead = sequenceDistance(this.#expected, sequence);
    const isLeap = sequenceDistance(this.#next, sequence) >= NEAR;
    if (ahead < 0 || isLeap || this.#isHeld(sequence, ahead)) {
      if (!this.#isFollowed(sequence, isLeap)) return ReorderVerdict.Late;
      if (this.#held > 0) return ReorderVerdict.MakeRoom;
      this.#follow(sequence, ahead);
      this.#next = sequence;
      ahead = sequenceDistance(this.#expected, sequence);
    }
    if (sequenceDistance(this.#next, sequence) >= 0) this.#next = nextSequence(sequence);
    this.#came[sequence & (NEAR - 1)] = sequence;
    this.#others.clear();
    if (this.#unsettled >= 0) this.#settle(sequence);
    if (ahead === 0 || this.capacity === 0) {
      this.skipped += ahead;
      this.#expected = nextSequence(sequence);
      return ReorderVerdict.Deliver;
    }
    if (ahead >= this.capacity) {
      if (this.#held > 0) return ReorderVerdict.MakeRoom;
      // No frame is held, so the expected number moves to the range of this frame.
      const target = (sequence - this.capacity + 1) & SEQUENCE_MASK;
      this.skipped += sequenceDistance(this.#expected, target);
      this.#expected = target;
      if (this.capacity === 1) return this.offer(sequence, now);
    }
    const slot = this.slotOf(sequence);
    this.#deadlines[slot] = now + this.timeoutMs;
    this.#held++;
    return ReorderVerdict.Hold;
  }

  /** Returns the slot of a frame to deliver now, and frees it; −1: none. */
  next(now: number): number {
    if (this.#held === 0) return -1;
    const slot = this.slotOf(this.#expected);
    if (this.#deadlines[slot] !== 0) return this.#take(slot);
    return this.deadline() <= now ? this.release() : -1;
  }

  /** Works like `next`, without waiting for missing frames. */
  release(): number {
    if (this.#held === 0) return -1;
    while (this.#deadlines[this.slotOf(this.#expected)] === 0) {
      this.#expected = nextSequence(this.#expected);
      this.skipped++;
    }
    return this.#take(this.slotOf(this.#expected));
  }

  /** Returns the earliest deadline of held frames; Infinity: none. */
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

  /** True if a frame of this number is held. */
  #isHeld(sequence: number, ahead: number): boolean {
    return ahead < this.capacity && this.#deadlines[this.slotOf(sequence)] !== 0;
  }

  /** True if the number continues the previous count. */
  #isOfLeft(sequence: number): boolean {
    if (this.#left < 0) return false;
    const ahead = sequenceDistance(this.#left, sequence);
    return ahead >= 0 && ahead < NEAR;
  }

  /** True if the number is late, shortly before the end of the previous count. */
  #isLateForLeft(sequence: number): boolean {
    if (this.#left < 0) return false;
    const ahead = sequenceDistance(this.#left, sequence);
    return ahead < 0 && ahead >= -NEAR;
  }

  /** True if the frame fills a recent gap. A restarted sender would repeat received numbers. */
  #isPlainlyLate(sequence: number): boolean {
    const slot = sequence & (NEAR - 1);
    if (!this.#isNear(sequence) || this.#came[slot] === sequence) return false;
    this.#came[slot] = sequence;
    return true;
  }

  #isNear(sequence: number): boolean {
    const ahead = sequenceDistance(this.#next, sequence);
    return ahead >= -NEAR && ahead < 0;
  }

  /** True if a frame of another count makes its count the present one. */
  #isFollowed(sequence: number, isLeap: boolean): boolean {
    if (this.#isOfLeft(sequence)) return true;
    if (isLeap && this.#isLateForLeft(sequence)) return false;
    if (isLeap && this.#returns === 0) return true;
    if (this.#isPlainlyLate(sequence)) return false;
    this.#others.add(sequence);
    return this.#others.has(RESYNC_AFTER << Math.min(DOUBLINGS, Math.max(0, this.#returns - 1)));
  }

  /** Changes to the frame's count. No frame may be held. */
  #follow(sequence: number, ahead: number): void {
    if (this.#isOfLeft(sequence)) return this.#goBack();
    const isConfirmed = this.#unsettled < 0 || this.#unsettled >= CONFIRMED_AFTER;
    if (this.#left < 0 || (isConfirmed && !this.#isNear(sequence))) this.#left = this.#expected;
    this.#unsettled = 0;
    if (this.#others.has(RESYNC_AFTER)) {
      this.#expected = sequence;
      this.#leapt = 0;
      this.resyncs++;
      return;
    }
    const room = Math.max(0, this.capacity - 1);
    this.#expected = (sequence - room) & SEQUENCE_MASK;
    this.#leapt += ahead - room;
  }

  /** Returns to the previous count: the other was not the sender's, and needs more evidence from now on. */
  #goBack(): void {
    this.#expected = this.#left;
    this.#left = -1;
    this.#leapt = 0;
    this.#unsettled = 0;
    this.#returns++;
    this.resyncs++;
  }

  /** Counts a frame of a present count that is not settled. */
  #settle(sequence: number): void {
    this.#unsettled++;
    if (this.#isOfLeft(sequence)) this.#left = -1;
    if (this.#unsettled === CONFIRMED_AFTER) {
      if (this.#leapt <= LOST_AT_MOST) this.skipped += this.#leapt;
      else this.resyncs++;
      this.#leapt = 0;
    }
    if (this.#unsettled < SETTLED_AFTER) return;
    this.#unsettled = -1;
    this.#left = -1;
    this.#returns = 0;
  }
}
