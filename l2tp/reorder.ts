/**
 * Receive order of a sequenced session (RFC 3931 §4.6): which frames are late, and a bounded queue
 * that puts early ones back in order. Holds slot numbers only; the frames are the caller's.
 */
import { NEAR, NumberRun, nextSequence, SEQUENCE_MASK, sequenceDistance } from "./sequence.ts";

/** After so many frames of another count, and none of the present one between them, the sender has restarted. */
const RESYNC_AFTER = 5;

/** How often the number above is doubled at the most: each time that the sender turned out not to have restarted. */
const DOUBLINGS = 4;

/** Frames of a count ahead until what lies between is known to be lost. */
const CONFIRMED_AFTER = 3;

/** A leap over more numbers than these is a restart, and no loss. */
const LOST_AT_MOST = 0xffff;

/** After so many frames of one count, the one before it has ended, and there is none beside it. */
const SETTLED_AFTER = 1024;

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
  /** Changes to another count than the present one: the sender has restarted, or is found not to have. */
  resyncs = 0;
  /** The next number of the present count. */
  #expected = -1;
  /** Behind the highest number of the present count that has come. */
  #next = -1;
  #held = 0;
  /** The next number of the count that was present before; −1: it has ended. */
  #left = -1;
  /** Numbers that the present count has leapt over, until it is confirmed. */
  #leapt = 0;
  /** How often the count before turned out not to have ended, since all was settled. */
  #returns = 0;
  /** Frames of the present count since it became that; −1: it is settled. */
  #unsettled = -1;
  /** Frames of another count, since the last one of the present count. */
  readonly #others = new NumberRun();
  /** By number, modulo its length: the last number that has come. */
  readonly #came = new Int32Array(NEAR).fill(-1);
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
      // Nothing waits, so nothing before this frame is worth a slot: start again from near it.
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

  /** Whether a frame of this number waits already. */
  #isHeld(sequence: number, ahead: number): boolean {
    return ahead < this.capacity && this.#deadlines[this.slotOf(sequence)] !== 0;
  }

  /** Whether the frame's number is one of the count that was left, and not before where it was left. */
  #isOfLeft(sequence: number): boolean {
    if (this.#left < 0) return false;
    const ahead = sequenceDistance(this.#left, sequence);
    return ahead >= 0 && ahead < NEAR;
  }

  /** Whether the frame's number lies little before where its count was left. */
  #isLateForLeft(sequence: number): boolean {
    if (this.#left < 0) return false;
    const ahead = sequenceDistance(this.#left, sequence);
    return ahead < 0 && ahead >= -NEAR;
  }

  /** Whether the frame fills a gap that is not long past: a sender that restarts sends numbers again. */
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

  /** Whether a frame whose number is not of the present count makes its own count the present one. */
  #isFollowed(sequence: number, isLeap: boolean): boolean {
    if (this.#isOfLeft(sequence)) return true;
    if (isLeap && this.#isLateForLeft(sequence)) return false;
    if (isLeap && this.#returns === 0) return true;
    if (this.#isPlainlyLate(sequence)) return false;
    this.#others.add(sequence);
    return this.#others.has(RESYNC_AFTER << Math.min(DOUBLINGS, Math.max(0, this.#returns - 1)));
  }

  /** Changes to the count of the frame; nothing is held. */
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

  /** Takes the count up again that was left: the other one was not the sender's, and has to prove itself from now on. */
  #goBack(): void {
    this.#expected = this.#left;
    this.#left = -1;
    this.#leapt = 0;
    this.#unsettled = 0;
    this.#returns++;
    this.resyncs++;
  }

  /** A frame of the present count has come, which was not always that. */
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
