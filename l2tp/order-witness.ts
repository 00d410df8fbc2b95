/** Predicts from sequence numbers what a receiver does with frames, for display. */
import { ReceiveOrder, ReorderVerdict } from "./reorder.ts";

/** The fate of the frame with this number, or a conclusion from it. */
export interface OrderDecision {
  readonly sequence: number;
  readonly what: "delivered" | "held" | "released" | "dropped" | "restart" | "skipped";
  /** The reason of a drop, or the count of skipped numbers. */
  readonly words?: string;
}

/** A receiver with the rule of the observed one. Its clock is in milliseconds, above 0. */
export interface OrderWitness {
  offer(sequence: number, now: number): OrderDecision[];
  /** Returns decisions about held frames as time passes. */
  expire(now: number): OrderDecision[];
}

/** The userspace datapath's receiver: reorder.ts, as packet/receive.ts uses it. */
export class ReorderWitness implements OrderWitness {
  readonly #order: ReceiveOrder;
  /** The number of the frame in each slot. */
  readonly #held: Int32Array;

  /** @param timeoutMs maximum time to hold an out-of-order frame; 0: no reordering */
  constructor(timeoutMs: number) {
    this.#order = new ReceiveOrder(timeoutMs);
    this.#held = new Int32Array(this.#order.capacity);
  }

  offer(sequence: number, now: number): OrderDecision[] {
    const order = this.#order;
    const decisions: OrderDecision[] = [...this.expire(now)];
    const { skipped, resyncs } = order;
    let verdict = order.offer(sequence, now);
    while (verdict === ReorderVerdict.MakeRoom) {
      decisions.push(this.#released(order.release()));
      verdict = order.offer(sequence, now);
    }
    if (order.resyncs > resyncs) decisions.push({ sequence, what: "restart" });
    if (order.skipped > skipped) decisions.push(leapt(sequence, order.skipped - skipped));
    if (verdict === ReorderVerdict.Deliver) decisions.push({ sequence, what: "delivered" });
    else if (verdict === ReorderVerdict.Late) {
      decisions.push({ sequence, what: "dropped", words: "it is late" });
    } else {
      this.#held[order.slotOf(sequence)] = sequence;
      decisions.push({ sequence, what: "held" });
    }
    return [...decisions, ...this.expire(now)];
  }

  expire(now: number): OrderDecision[] {
    const order = this.#order;
    const decisions: OrderDecision[] = [];
    let { skipped } = order;
    for (let slot = order.next(now); slot >= 0; slot = order.next(now)) {
      const released = this.#released(slot);
      if (order.skipped > skipped) {
        decisions.push(leapt(released.sequence, order.skipped - skipped));
        skipped = order.skipped;
      }
      decisions.push(released);
    }
    return decisions;
  }

  #released(slot: number): OrderDecision {
    return { sequence: this.#held[slot] ?? 0, what: "released" };
  }
}

function leapt(sequence: number, count: number): OrderDecision {
  return { sequence, what: "skipped", words: `${count}` };
}
