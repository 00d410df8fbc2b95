/** The kernel's handling of lost and reordered sequence numbers, as docs/far-end.md describes it. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FramePort } from "../harness/frames.ts";
import { KernelNode, pair, putSession, quieten } from "../harness/kernel-node.ts";
import { TestNet } from "../harness/net.ts";
import { markOf, SequencedSender } from "../harness/sequenced-sender.ts";
import { until } from "../harness/wait.ts";

const FAR = 2 ** 22;
const RANGE = 2 ** 24;
/** Frames in flight: fewer than any queue on the path holds. */
const WINDOW = 50;
const REORDER_MS = 50;

let net: TestNet;
let node: KernelNode;
let restore: () => Promise<void>;
let ends: ReturnType<typeof pair>;
let port: FramePort;
let sender: SequencedSender;
let arrived: number[];

const upwards = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => (from + index) % RANGE);

beforeEach(async () => {
  net = await TestNet.create({ aIsInitial: true });
  restore = await quieten(net.a.name);
  node = new KernelNode();
  sender = new SequencedSender(net.b, net.a, { port: 5001 });
  arrived = [];
});

afterEach(async () => {
  port.close();
  sender.close();
  await node.apply({ op: "deleteTunnel", name: ends.tunnel.name });
  node.close();
  await restore();
  await net.remove();
});

async function start(reorderTimeoutMs: number): Promise<void> {
  const sequencing = { send: false, receive: true, reorderTimeoutMs };
  const variant = { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" } as const;
  ends = pair(net, variant, { session: { sequencing } });
  node.list();
  expect(await node.apply({ op: "putTunnel", tunnel: ends.tunnel })).toEqual([null]);
  await open();
}

async function open(): Promise<void> {
  expect(await node.apply(putSession(ends.session))).toEqual([null]);
  port = new FramePort(net.a.netns, node.raise(ends.session).name);
}

const dropped = () => {
  const [state] = node.list(ends.tunnel, ends.session).sessions;
  return state === undefined ? Number.NaN : state.counters.rxErrors + state.counters.rxSeqDiscards;
};

function take(): void {
  for (let frame = port.receive(); frame !== null; frame = port.receive()) {
    const mark = markOf(frame);
    if (mark !== null) arrived.push(mark);
  }
}

/** Sends the numbers, and waits until no frame is in flight. @returns how many frames were delivered */
async function pass(numbers: readonly number[]): Promise<number> {
  const before = arrived.length;
  for (let first = 0; first < numbers.length; first += WINDOW) {
    const [had, lost] = [arrived.length, dropped()];
    const some = numbers.slice(first, first + WINDOW);
    for (const number of some) sender.send(number);
    await until("each frame is delivered or dropped", () => {
      take();
      return arrived.length - had + dropped() - lost === some.length;
    });
  }
  return arrived.length - before;
}

describe("without reordering", () => {
  beforeEach(() => start(0));

  it("a frame far ahead is lost, and no other", async () => {
    expect(await pass(upwards(0, 100))).toBe(100);
    expect(await pass([FAR])).toBe(0);
    expect(await pass(upwards(100, 100))).toBe(100);
  });

  it("a sender that jumps ahead is followed from its sixth frame on", async () => {
    expect(await pass(upwards(0, 100))).toBe(100);
    expect(await pass(upwards(FAR, 100))).toBe(95);
  });

  it("frames of a restarted sender are dropped until it reaches the old number", async () => {
    expect(await pass(upwards(0, 300))).toBe(300);
    expect(await pass(upwards(0, 300))).toBe(0);
    expect(await pass(upwards(300, 50))).toBe(50);
  });

  it("a recreated session receives from a restarted sender", async () => {
    expect(await pass(upwards(5000, 10))).toBeGreaterThan(0);
    expect(await pass(upwards(0, 100))).toBe(0);
    port.close();
    expect(await node.apply({ op: "deleteSession", key: ends.session.key })).toEqual([null]);
    await open();
    expect(await pass(upwards(0, 100))).toBe(100);
  });
});

describe("with reordering", () => {
  beforeEach(() => start(REORDER_MS));

  it("a frame far ahead is lost, and no other", async () => {
    expect(await pass(upwards(0, 100))).toBe(100);
    const [had, lost] = [arrived.length, dropped()];
    sender.send(FAR);
    let next = 100;
    await until("the reorder timeout has expired", () => {
      sender.send(next++);
      return dropped() > lost;
    });
    await until("the other frames arrive", () => {
      take();
      return arrived.length - had === next - 100;
    });
    expect(dropped() - lost).toBe(1);
  });

  it("frames of a restarted sender are dropped, too", async () => {
    expect(await pass(upwards(0, 100))).toBe(100);
    expect(await pass(upwards(0, 100))).toBe(0);
    expect(await pass(upwards(100, 50))).toBe(50);
  });
});
