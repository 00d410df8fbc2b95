import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReceiveOrder, ReorderVerdict } from "./reorder.ts";
import { Random } from "./testing/random.ts";

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
  it("passes a gap, drops late frames, and counts both", () => {
    expect(run(new ReceiveOrder(0), at(10, 11, 14, 12, 13, 15))).toEqual({
      delivered: [10, 11, 14, 15],
      late: [12, 13],
      skipped: 2,
      resyncs: 0,
    });
  });

  it("continues across the wrap", () => {
    expect(run(new ReceiveOrder(0), at(0xfffffe, 0xffffff, 0, 1)).delivered).toHaveLength(4);
  });

  it("follows a sender that restarts from 0", () => {
    const result = run(new ReceiveOrder(0), at(5000, 5001, 0, 1, 2, 3, 4, 5));
    expect(result).toMatchObject({ delivered: [5000, 5001, 4, 5], late: [0, 1, 2, 3], resyncs: 1 });
  });

  it("is not confused by single late frames", () => {
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

  it("drops a duplicate of a held frame", () => {
    const order = new ReceiveOrder(50);
    order.offer(0, 1);
    order.offer(5, 1);
    expect(order.offer(5, 1)).toBe(ReorderVerdict.Late);
  });

  it("follows a leap beyond its capacity", () => {
    const result = run(new ReceiveOrder(50, 8), at(0, 1, 1000, 1001, 1002));
    expect(result.delivered).toEqual([0, 1, 1000, 1001, 1002]);
    expect(result.skipped).toBe(998);
  });

  it("follows a sender that restarts, and loses no held frames", () => {
    const result = run(new ReceiveOrder(50), at(500, 502, 0, 1, 2, 3, 4, 5));
    expect(result).toMatchObject({ delivered: [500, 502, 4, 5], resyncs: 1 });
  });
});

const RESYNC_RUN = 5;

it("delivers every frame once and in order if reordering is within its capacity", () => {
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

it("never delivers a frame twice or out of order for any input", () => {
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

const N = 0x100_0000;
const upwards = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => (from + index) & (N - 1));

/** The frames that arrive; numbers below 1 are the path's chances, one a frame. */
type Path = (sent: readonly number[], chances: readonly number[]) => number[];
const swap: Path = (sent) =>
  sent
    .flatMap((sequence, i) => (i % 2 ? [sequence, sent[i - 1] ?? 0] : []))
    .concat(sent.length % 2 ? sent.slice(-1) : []);
const lose: Path = (sent, chances) => sent.filter((_, i) => (chances[i] ?? 1) >= 0.3);
const jitter: Path = (sent, chances) =>
  sent
    .map((sequence, i) => ({ sequence, due: i + (chances[i] ?? 0) * 8 }))
    .sort((a, b) => a.due - b.due)
    .map(({ sequence }) => sequence);
const paths: Record<string, Path> = {
  "in order": (sent) => [...sent],
  "pairs swapped": swap,
  "every third lost": (sent) => sent.filter((_, i) => i % 3 !== 2),
  "30 % lost": lose,
  "30 % lost, pairs swapped": (sent, chances) => swap(lose(sent, chances), chances),
  shuffled: jitter,
  "all twice": (sent) => sent.flatMap((sequence) => [sequence, sequence]),
};
const AFTER = 300;
const timeouts = fc.constantFrom(0, 50);
const from = fc.oneof(fc.nat(N - 1), fc.integer({ min: N - 300, max: N - 1 }));

/** Frames of `arrivals`, the last of all, that come out without those before, but not behind them. */
function lost(before: readonly number[], arrivals: readonly number[], timeout: number): number[] {
  const timed = [...before, ...arrivals].map((sequence, index) => ({
    sequence,
    index,
    at: index + 1,
  }));
  const out = (part: typeof timed) => {
    // Each frame is told by its place: a number may come twice.
    const order = new ReceiveOrder(timeout);
    const [slots, delivered] = [new Map<number, number>(), new Set<number>()];
    const drain = (now: number) => {
      for (let slot = order.next(now); slot >= 0; slot = order.next(now))
        delivered.add(slots.get(slot) ?? -1);
    };
    for (const { sequence, index, at } of part) {
      drain(at);
      let verdict = order.offer(sequence, at);
      while (verdict === ReorderVerdict.MakeRoom) {
        delivered.add(slots.get(order.release()) ?? -1);
        verdict = order.offer(sequence, at);
      }
      if (verdict === ReorderVerdict.Deliver) delivered.add(index);
      else if (verdict === ReorderVerdict.Hold) slots.set(order.slotOf(sequence), index);
      drain(at);
    }
    drain(Number.POSITIVE_INFINITY);
    return delivered;
  };
  const [all, alone] = [out(timed), out(timed.slice(before.length))];
  return [...alone].filter((index) => !all.has(index)).map((index) => index - before.length);
}

describe.each(Object.entries(paths))("over a path: %s", (_name, path) => {
  const walk = (
    property: (
      start: number,
      timeout: number,
      sent: (numbers: readonly number[]) => number[],
    ) => void,
  ) =>
    fc.assert(
      fc.property(from, timeouts, fc.nat(), (start, timeout, seed) => {
        const random = new Random(seed);
        property(start, timeout, (sent) =>
          path(
            sent,
            sent.map(() => random.below(1 << 16) / (1 << 16)),
          ),
        );
      }),
    );

  it("loses nothing to one frame far ahead", () =>
    walk((start, timeout, sent) => {
      for (const ahead of [64 + 200, 2 ** 22, N / 2 - 1000]) {
        const before = [...sent(upwards(start, 200)), (start + 200 + ahead) & (N - 1)];
        expect(lost(before, sent(upwards(start + 200, AFTER)), timeout)).toEqual([]);
      }
    }));

  it("follows a sender that jumps ahead at once", () =>
    walk((start, timeout, sent) => {
      const after = sent(upwards(start + 200 + 2 ** 22, AFTER));
      expect(lost(sent(upwards(start, 200)), after, timeout)).toEqual([]);
    }));

  it("follows a sender that restarts within few frames", () =>
    walk((start, timeout, sent) => {
      for (const back of [N / 2 - 1000, 100_000, 1000]) {
        const after = sent(upwards(start + N - back, AFTER));
        const missed = lost(sent(upwards(start, 200)), after, timeout);
        expect(missed.length).toBeLessThanOrEqual(12);
        expect(Math.max(-1, ...missed)).toBeLessThan(20);
      }
    }));

  it("follows a sender that restarts where it has just been", () =>
    walk((start, timeout, sent) => {
      const missed = lost(sent(upwards(start, 40)), sent(upwards(start, AFTER)), timeout);
      expect(Math.max(-1, ...missed)).toBeLessThan(64);
    }));

  it("loses nothing to replayed frames, behind or ahead", () =>
    walk((start, timeout, sent) => {
      for (const [offset, each] of [
        [-5000, 1],
        [-5000, 10],
        [5000, 1],
        [5000, 10],
        [2 ** 22, 2],
      ] as const) {
        const live = sent(upwards(start, AFTER));
        const old = sent(upwards(start + N + offset, live.length * each));
        const order = new ReceiveOrder(timeout);
        const arrivals = live.flatMap((sequence, i) => [
          sequence,
          ...old.slice(i * each, (i + 1) * each),
        ]);
        // All at one time, so that nothing waits too long.
        const { delivered } = run(order, at(...arrivals));
        const alone = run(new ReceiveOrder(timeout), at(...live)).delivered;
        const missed = new Set(alone);
        for (const sequence of delivered) missed.delete(sequence);
        // Following the replay releases frames held for a gap, so frames that fill the gap are late.
        expect(missed.size).toBeLessThanOrEqual(timeout === 0 ? 0 : 12);
      }
    }));
});

it("does not treat frames that are late by less than 64 as a restart", () => {
  fc.assert(
    fc.property(from, fc.array(fc.nat(63), { minLength: 300, maxLength: 300 }), (start, delays) => {
      const sent = upwards(start, 300).map((sequence, i) => ({
        sequence,
        due: i + (delays[i] ?? 0),
      }));
      const arrivals = sent.sort((a, b) => a.due - b.due).map(({ sequence }) => sequence);
      const { delivered, resyncs } = run(new ReceiveOrder(0), at(...arrivals));
      expect(resyncs).toBe(0);
      for (let i = 1; i < delivered.length; i++) {
        expect(((delivered[i] ?? 0) - (delivered[i - 1] ?? 0)) & (N - 1)).toBeLessThan(N / 2);
      }
    }),
  );
});

it("does not treat a repeated old frame as a restart", () => {
  const arrivals = [...upwards(5000, 10), ...Array(100).fill(17), ...upwards(5010, 10)];
  const { delivered, resyncs } = run(new ReceiveOrder(0), at(...arrivals));
  expect(delivered).toEqual(upwards(5000, 20));
  expect(resyncs).toBe(0);
});

it("counts numbers skipped by a frame far ahead only if others follow it", () => {
  const stray = run(new ReceiveOrder(0), at(0, 1, 2 ** 22, 2, 3, 4));
  expect(stray).toMatchObject({ delivered: [0, 1, 2 ** 22, 2, 3, 4], skipped: 0, resyncs: 1 });
  const outage = run(new ReceiveOrder(0), at(0, 1, ...upwards(60_000, 10)));
  expect(outage).toMatchObject({ skipped: 59_998, resyncs: 0, late: [] });
  const restart = run(new ReceiveOrder(0), at(0, 1, ...upwards(2 ** 22, 10)));
  expect(restart).toMatchObject({ skipped: 0, resyncs: 1, late: [] });
});

it("settles after a thousand frames of one count", () => {
  const order = new ReceiveOrder(0);
  run(order, at(0, 1, 2 ** 22, 2, 3, 2 ** 22 + 1));
  expect(order.resyncs).toBe(1);
  const { delivered } = run(order, at(...upwards(4, 1100), 9000));
  expect(delivered.at(-1)).toBe(9000);
});
