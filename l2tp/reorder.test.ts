import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReceiveOrder, ReorderVerdict } from "./reorder.ts";

/** Runs frames through a queue as the datapath does; returns what came out, and what was dropped. */
function run(order: ReceiveOrder, arrivals: readonly { sequence: number; at: number }[]) {
  const slots = new Map<number, number>();
  const delivered: number[] = [];
  const late: number[] = [];
  const drain = (now: number) => {
    for (let slot = order.next(now); slot >= 0; slot = order.next(now)) {
      delivered.push(slots.get(slot) ?? Number.NaN);
    }
  };
  for (const { sequence, at } of arrivals) {
    drain(at);
    let verdict = order.offer(sequence, at);
    while (verdict === ReorderVerdict.MakeRoom) {
      delivered.push(slots.get(order.release()) ?? Number.NaN);
      verdict = order.offer(sequence, at);
    }
    if (verdict === ReorderVerdict.Deliver) delivered.push(sequence);
    else if (verdict === ReorderVerdict.Hold) slots.set(order.slotOf(sequence), sequence);
    else late.push(sequence);
    drain(at);
  }
  drain(Number.POSITIVE_INFINITY);
  return { delivered, late, skipped: order.skipped, resyncs: order.resyncs };
}

const at = (...sequences: number[]) => sequences.map((sequence) => ({ sequence, at: 1 }));

describe("without a timeout", () => {
  it("passes a gap, drops what is late, and counts both", () => {
    expect(run(new ReceiveOrder(0), at(10, 11, 14, 12, 13, 15))).toEqual({
      delivered: [10, 11, 14, 15],
      late: [12, 13],
      skipped: 2,
      resyncs: 0,
    });
  });

  it("goes on across the wrap", () => {
    expect(run(new ReceiveOrder(0), at(0xfffffe, 0xffffff, 0, 1)).delivered).toHaveLength(4);
  });

  it("follows a sender that starts again from 0", () => {
    const result = run(new ReceiveOrder(0), at(5000, 5001, 0, 1, 2, 3, 4, 5));
    expect(result).toMatchObject({ delivered: [5000, 5001, 4, 5], late: [0, 1, 2, 3], resyncs: 1 });
  });

  it("is not led astray by single late frames", () => {
    const result = run(new ReceiveOrder(0), at(100, 90, 80, 70, 60, 50, 40, 101));
    expect(result).toMatchObject({ delivered: [100, 101], resyncs: 0 });
  });
});

describe("with a timeout", () => {
  it("puts frames back in order", () => {
    expect(run(new ReceiveOrder(50), at(0, 2, 1, 5, 4, 3))).toEqual({
      delivered: [0, 1, 2, 3, 4, 5],
      late: [],
      skipped: 0,
      resyncs: 0,
    });
  });

  it("waits no longer than the timeout", () => {
    const order = new ReceiveOrder(50);
    expect(order.offer(0, 1000)).toBe(ReorderVerdict.Deliver);
    expect(order.offer(2, 1000)).toBe(ReorderVerdict.Hold);
    expect(order.deadline()).toBe(1050);
    expect(order.next(1049)).toBe(-1);
    expect(order.next(1050)).toBe(order.slotOf(2));
    expect(order.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(order.offer(1, 1051)).toBe(ReorderVerdict.Late);
    expect(order.skipped).toBe(1);
  });

  it("drops a frame that is held already", () => {
    const order = new ReceiveOrder(50);
    order.offer(0, 1);
    order.offer(5, 1);
    expect(order.offer(5, 1)).toBe(ReorderVerdict.Late);
  });

  it("takes a leap beyond its capacity", () => {
    const result = run(new ReceiveOrder(50, 8), at(0, 1, 1000, 1001, 1002));
    expect(result.delivered).toEqual([0, 1, 1000, 1001, 1002]);
    expect(result.skipped).toBe(998);
  });

  it("follows a sender that starts again, and loses nothing that it held", () => {
    const result = run(new ReceiveOrder(50), at(500, 502, 0, 1, 2, 3, 4, 5));
    expect(result).toMatchObject({ delivered: [500, 502, 4, 5], resyncs: 1 });
  });
});

const RESYNC_RUN = 5;

it("delivers every frame once and in order, while shuffling stays within its capacity", () => {
  const jitter = fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(jitter, fc.integer({ min: 0, max: 0xffffff }), (delays, start) => {
      const arrivals = delays
        .map((delay, index) => ({
          sequence: (start + index) & 0xffffff,
          key: index + delay,
          index,
        }))
        .sort((a, b) => a.key - b.key || a.index - b.index);
      // The first to arrive sets the beginning: what was sent before it counts as late.
      const first = arrivals[0]?.index ?? 0;
      // More late ones in a row look like a sender that has restarted.
      fc.pre(first < RESYNC_RUN);
      const result = run(
        new ReceiveOrder(10, 16),
        arrivals.map(({ sequence }) => ({ sequence, at: 1 })),
      );
      const expected = delays.map((_, index) => (start + index) & 0xffffff).slice(first);
      expect(result.delivered).toEqual(expected);
      expect(result.late).toHaveLength(first);
    }),
  );
});

it("never delivers a frame twice or out of order, whatever arrives", () => {
  const arrivals = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 300 });
  fc.assert(
    fc.property(arrivals, fc.constantFrom(0, 5), (sequences, timeout) => {
      const result = run(
        new ReceiveOrder(timeout, 8),
        sequences.map((sequence, index) => ({ sequence, at: 1 + index })),
      );
      expect(result.delivered.length + result.late.length).toBe(sequences.length);
      if (result.resyncs === 0) {
        for (let i = 1; i < result.delivered.length; i++) {
          expect(result.delivered[i]).toBeGreaterThan(result.delivered[i - 1] ?? -1);
        }
      }
    }),
  );
});
