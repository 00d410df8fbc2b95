import fc from "fast-check";
import { expect, it } from "vitest";
import { Delivery, type DeliverySettings } from "./delivery.ts";

const SETTINGS: DeliverySettings = {
  receiveWindow: 4,
  retransmitMs: 1000,
  retransmitCapMs: 8000,
  maxRetransmits: 10,
};
type Message = { readonly text: string };
const create = (change: Partial<DeliverySettings> = {}) =>
  new Delivery<string, Message>({ ...SETTINGS, ...change });
const message = (text: string): Message => ({ text });

it("retransmits after 1, 2, 4 and then every 8 seconds, and gives up after ten times", () => {
  const delivery = create();
  delivery.send("a");
  const times: number[] = [];
  for (let now = 0; now < 100_000; now += 500) {
    for (const { ns, item } of delivery.poll(now)) {
      expect([ns, item]).toEqual([0, "a"]);
      times.push(now / 1000);
    }
  }
  expect(times).toEqual([0, 1, 3, 7, 15, 23, 31, 39, 47, 55, 63]);
  expect(delivery.isExhausted).toBe(true);
});

it("retransmits a hurried message early once, and then as usual", () => {
  const delivery = create();
  delivery.hurry(100);
  delivery.send("a");
  const times: number[] = [];
  const poll = (from: number, to: number) => {
    for (let now = from; now < to; now += 50) if (delivery.poll(now).length > 0) times.push(now);
  };
  poll(0, 4000);
  expect(times.splice(0)).toEqual([0, 100, 1100, 3100]);
  delivery.receive(0, 1, null, 4000);
  delivery.send("b");
  poll(4000, 8000);
  expect(times).toEqual([4000, 5000, 7000]);
});

it("ignores hurry if the usual delay is short", () => {
  const delivery = create({ retransmitMs: 200 });
  delivery.hurry(150);
  delivery.send("a");
  delivery.poll(0);
  expect(delivery.deadline).toBe(200);
});

it("retransmits with the present Nr", () => {
  const delivery = create();
  delivery.send("a");
  expect(delivery.poll(0)).toMatchObject([{ nr: 0 }]);
  delivery.receive(0, 0, message("x"), 10);
  expect(delivery.poll(1000)).toMatchObject([{ ns: 0, nr: 1 }]);
  // The message has carried the acknowledgement already.
  expect(delivery.takeAcknowledgement()).toBeNull();
});

it("sends no more than the window, which grows with acknowledgements", () => {
  const delivery = create();
  delivery.setPeerWindow(4);
  for (let i = 0; i < 20; i++) delivery.send(`${i}`);
  const sizes: number[] = [];
  let acknowledged = 0;
  for (let now = 0; !delivery.isIdle; now++) {
    const { length } = delivery.poll(now);
    sizes.push(length);
    acknowledged += length;
    delivery.receive(0, acknowledged, null, now);
  }
  expect(sizes).toEqual([1, 2, 4, 4, 4, 4, 1]);
});

it("acknowledges a duplicate, and delivers it once", () => {
  const delivery = create();
  expect(delivery.receive(0, 0, message("a"), 0)).toEqual({
    receipt: "taken",
    isNews: true,
    ready: [message("a")],
  });
  expect(delivery.takeAcknowledgement()).toEqual({ ns: 0, nr: 1 });
  expect(delivery.receive(0, 0, message("a"), 0)).toMatchObject({
    receipt: "duplicate",
    isNews: false,
    ready: [],
  });
  expect(delivery.takeAcknowledgement()).toEqual({ ns: 0, nr: 1 });
  expect(delivery.takeAcknowledgement()).toBeNull();
});

it("keeps early messages, as many as its window", () => {
  const delivery = create();
  for (const ns of [3, 1, 2, 4]) {
    expect(delivery.receive(ns, 0, message(`${ns}`), 0).receipt).toBe("early");
  }
  const { ready } = delivery.receive(0, 0, message("0"), 0);
  expect(ready.map(({ text }) => text)).toEqual(["0", "1", "2", "3"]);
});

it("rejects acknowledgements of messages that were never sent", () => {
  const delivery = create();
  delivery.send("a");
  delivery.poll(0);
  expect(delivery.receive(0, 2, message("x"), 0).receipt).toBe("invalid");
  expect(delivery.describe().nr).toBe(0);
  expect(delivery.receive(0, 1, message("x"), 0).receipt).toBe("taken");
  expect(delivery.isIdle).toBe(true);
});

it("treats 0 to 15 and 32784 to 65535 as old after 15 (RFC 3931, 4.2)", () => {
  const delivery = create();
  for (let ns = 0; ns < 16; ns++) delivery.receive(ns, 0, message(`${ns}`), 0);
  for (const ns of [0, 15, 32784, 65535]) {
    expect(delivery.receive(ns, 0, message("old"), 0).receipt).toBe("duplicate");
  }
  expect(delivery.receive(32783, 0, message("early"), 0).receipt).toBe("early");
});

interface Packet {
  readonly ns: number;
  readonly nr: number;
  /** null: an acknowledgement. */
  readonly item: string | null;
}

/** Two ends, and a wire between them on which fate has its way. */
class Pair {
  readonly ends;
  readonly #wire: { readonly to: number; readonly at: number; readonly packet: Packet }[] = [];
  readonly #fates: Iterator<number>;

  constructor(windows: readonly [number, number], count: number, fates: Iterator<number>) {
    this.#fates = fates;
    this.ends = windows.map((receiveWindow, index) => {
      const delivery = create({ receiveWindow, maxRetransmits: 1000 });
      delivery.setPeerWindow(windows[1 - index] as number);
      for (let i = 0; i < count; i++) delivery.send(`${index} ${i}`);
      return { delivery, got: [] as string[] };
    });
  }

  get isIdle(): boolean {
    return this.ends.every(({ delivery }) => delivery.isIdle);
  }

  step(now: number): void {
    for (const arrival of this.#wire.filter(({ at }) => at <= now)) {
      this.#wire.splice(this.#wire.indexOf(arrival), 1);
      this.#arrive(arrival.to, arrival.packet, now);
    }
    for (const [index, { delivery }] of this.ends.entries()) {
      for (const packet of delivery.poll(now)) this.#put(1 - index, now, packet);
      const owed = delivery.takeAcknowledgement();
      if (owed !== null) this.#put(1 - index, now, { ...owed, item: null });
    }
  }

  #arrive(to: number, { ns, nr, item }: Packet, now: number): void {
    const { delivery, got } = this.ends[to] as (typeof this.ends)[number];
    const { ready } = delivery.receive(ns, nr, item === null ? null : message(item), now);
    got.push(...ready.map(({ text }) => text));
  }

  /** Three of ten are lost, one is doubled, and each takes its own time. */
  #put(to: number, now: number, packet: Packet): void {
    const fate = this.#fates.next().value as number;
    if (fate < 3) return;
    this.#wire.push({ to, at: now + fate * 40, packet });
    if (fate === 9) this.#wire.push({ to, at: now + 700, packet });
  }
}

it("delivers all messages in order and once despite loss, duplication and reordering", () => {
  const window = fc.integer({ min: 1, max: 8 });
  const schedule = fc.record({
    count: fc.constantFrom(1, 5, 60),
    windows: fc.tuple(window, window),
    fates: fc.infiniteStream(fc.integer({ min: 0, max: 9 })),
  });
  fc.assert(
    fc.property(schedule, ({ count, windows, fates }) => {
      const pair = new Pair(windows, count, fates);
      for (let now = 0; now < 4_000_000 && !pair.isIdle; now += 20) pair.step(now);
      expect(pair.isIdle).toBe(true);
      for (const [index, { got }] of pair.ends.entries()) {
        expect(got).toEqual(Array.from({ length: count }, (_, i) => `${1 - index} ${i}`));
      }
    }),
    { numRuns: 200 },
  );
});

it("wraps after 65535", () => {
  const [one, other] = [create(), create()];
  for (let i = 0; i < 70_000; i++) {
    one.send(`${i}`);
    for (const { ns, nr, item } of one.poll(i)) {
      expect(other.receive(ns, nr, message(item), i).ready).toHaveLength(1);
    }
    const owed = other.takeAcknowledgement();
    if (owed !== null) one.receive(owed.ns, owed.nr, null, i);
    expect(one.isIdle).toBe(true);
  }
});
