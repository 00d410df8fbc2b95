/**
 * Predicts, for display, what the kernel's L2TP does with frames by their sequence numbers: l2tp_recv_data_seq and
 * l2tp_recv_dequeue of net/l2tp/l2tp_core.c.
 */
import type { OrderDecision, OrderWitness } from "../../l2tp/order-witness.ts";
import { nextSequence, SEQUENCE_MASK } from "../../l2tp/sequence.ts";

/** session->nr_window_size: half of all numbers. */
const WINDOW = SEQUENCE_MASK >>> 1;
/** session->nr_oos_count_max: after this many consecutive numbers out of order the kernel follows them. */
const MAX_CONSECUTIVE = 4;
/** The kernel has no limit. A queue of this length means that the trace missed frames. */
const MAX_HELD = 4096;

interface HeldFrame {
  readonly sequence: number;
  readonly expires: number;
}

export class KernelOrderWitness implements OrderWitness {
  readonly #timeoutMs: number;
  /** session->nr; −1: unknown, because the trace began later than the session. */
  #expected = -1;
  /** session->nr_oos, and session->nr_oos_count. */
  #outOfOrder = 0;
  #consecutive = 0;
  /** session->reorder_skip: the next frame of the queue becomes the expected one. */
  #skips = false;
  /** session->reorder_q, in the order of the numbers. */
  #queue: HeldFrame[] = [];

  /** @param timeoutMs session->reorder_timeout; 0: the kernel drops frames out of order */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  offer(sequence: number, now: number): OrderDecision[] {
    if (this.#expected < 0) this.#expected = sequence;
    if (((sequence - this.#expected) & SEQUENCE_MASK) >= WINDOW) {
      return [dropped(sequence, "outside the window")];
    }
    if (this.#timeoutMs === 0 && !this.#isTaken(sequence)) {
      return [dropped(sequence, `out of order, expected ${this.#expected}`)];
    }
    this.#enqueue(sequence, now);
    const decisions = this.#dequeue(now);
    const isHeld = this.#queue.some((held) => held.sequence === sequence);
    return isHeld ? [...decisions, { sequence, what: "held" }] : decisions.map(arrived(sequence));
  }

  /** The kernel checks its queue only when a frame arrives. */
  expire(): OrderDecision[] {
    return [];
  }

  /** Without reordering: true if the frame is the expected one, or the last of a run that the kernel follows. */
  #isTaken(sequence: number): boolean {
    if (sequence === this.#expected) return true;
    this.#consecutive = sequence === nextSequence(this.#outOfOrder) ? this.#consecutive + 1 : 0;
    this.#outOfOrder = sequence;
    if (this.#consecutive > MAX_CONSECUTIVE) this.#skips = true;
    return this.#skips;
  }

  /** l2tp_recv_queue_skb compares the numbers without regard to wraparound. */
  #enqueue(sequence: number, now: number): void {
    const at = this.#queue.findIndex((held) => held.sequence > sequence);
    // Without a session timeout: one second (l2tp_recv_common).
    const frame = { sequence, expires: now + (this.#timeoutMs || 1000) };
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, frame);
    if (this.#queue.length > MAX_HELD) this.#queue = [frame];
  }

  #dequeue(now: number): OrderDecision[] {
    const decisions: OrderDecision[] = [];
    for (;;) {
      const [head] = this.#queue;
      if (head === undefined) return decisions;
      const { sequence } = head;
      if (now > head.expires) {
        this.#queue.shift();
        this.#skips = true;
        decisions.push(dropped(sequence, "waited too long"));
        continue;
      }
      if (this.#skips) {
        this.#skips = false;
        this.#expected = sequence;
        decisions.push({ sequence, what: "restart" });
      }
      if (sequence !== this.#expected) return decisions;
      this.#queue.shift();
      this.#expected = nextSequence(sequence);
      decisions.push({ sequence, what: "released" });
    }
  }
}

const dropped = (sequence: number, words: string): OrderDecision => ({
  sequence,
  what: "dropped",
  words,
});

/** Reports the frame that just arrived as delivered, not released: it did not wait. */
const arrived =
  (sequence: number) =>
  (decision: OrderDecision): OrderDecision =>
    decision.what === "released" && decision.sequence === sequence
      ? { sequence, what: "delivered" }
      : decision;
