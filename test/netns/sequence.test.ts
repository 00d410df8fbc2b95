/** Lost, reordered and repeated sequence numbers, with frames through a datapath process. */
import { afterEach, expect, it } from "vitest";
import { Random } from "../../l2tp/testing/random.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { markOf, SequencedSender } from "../harness/sequenced-sender.ts";
import { until } from "../harness/wait.ts";

const SEQUENCE_MASK = 0xff_ffff;
/** Frames in flight: fewer than any queue on the path holds. */
const WINDOW = 100;

let net: TestNet;
let agent: TestAgent;

afterEach(async () => {
  await agent.destroy();
  await net.remove();
});

type Path = (sent: readonly number[]) => number[];
const random = new Random(18);
const paths: [string, Path][] = [
  ["in order", (sent) => [...sent]],
  ["pairs swapped", (sent) => sent.map((_, i) => sent[i ^ 1] ?? 0)],
  ["every third lost", (sent) => sent.filter((_, i) => i % 3 !== 2)],
  ["30 % lost", (sent) => sent.filter(() => random.below(10) >= 3)],
];

const upwards = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => (from + index) & SEQUENCE_MASK);

/** The number of frames that are not late. */
function inTime(arrivals: readonly number[]): number {
  let highest = -1;
  let count = 0;
  for (const sequence of arrivals) {
    if (sequence < highest) continue;
    highest = sequence;
    count++;
  }
  return count;
}

it.each([
  ["without reordering", "0ms"],
  ["with reordering", "20ms"],
])("%s, follows a sender that jumps and restarts, over any path", async (_name, timeout) => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  const sequencing = { receive: true, reorderTimeout: timeout };
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b, { udpChecksum: false }),
    sessionObject("lan", "t", { sequencing }),
  ]);
  await agent.start();
  const pod = await net.addPod("pod");
  const config = { cniVersion: "1.0.0", name: "s", type: "l2tp", session: "shop/lan" };
  const full = { ...config, socket: agent.socket };
  const answer = await cni(net.a, { command: "ADD", netns: pod, config: full });
  expect(answer.status, answer.stdout).toBe(0);
  const port = new FramePort(pod, "net1");
  const sender = new SequencedSender(net.b, net.a);
  const arrived = new Set<number>();
  const discards = async () => {
    const { rxSeqDiscards } = (await agent.session("shop/lan"))?.counters ?? {};
    return rxSeqDiscards ?? Number.NaN;
  };

  /** Sends the numbers, and waits until each frame is forwarded or dropped. */
  async function pass(numbers: readonly number[]): Promise<number> {
    const marks: number[] = [];
    for (let first = 0; first < numbers.length; first += WINDOW) {
      for (const sequence of numbers.slice(first, first + WINDOW)) {
        marks.push(sender.send(sequence));
      }
      await until("each frame is forwarded or dropped", async () => {
        for (let frame = port.receive(); frame !== null; frame = port.receive()) {
          const mark = markOf(frame);
          if (mark !== null) arrived.add(mark);
        }
        return arrived.size + (await discards()) === sender.sent;
      });
    }
    return marks.filter((mark) => arrived.has(mark)).length;
  }

  for (const [name, path] of paths) {
    for (const [event, before, stray, after] of [
      ["one frame far ahead", 1000, 1200 + 2 ** 22, 1200],
      ["a jump ahead", 1400, null, 1600 + 2 ** 22],
      ["a restart", 2_000_000, null, 0],
      ["a restart at a recent number", 400, null, 400],
    ] as const) {
      await pass(path(upwards(before, 200)));
      if (stray !== null) await pass([stray]);
      const arrivals = path(upwards(after, 400));
      const due = timeout === "0ms" ? inTime(arrivals) : arrivals.length;
      const count = await pass(arrivals);
      expect(count, `${event}, ${name}: ${count} of ${due}`).toBeGreaterThanOrEqual(due - 20);
    }
  }

  // Repeated old frames outnumber the new ones.
  await pass(upwards(50_000, 1200));
  const live = upwards(51_200, 50);
  const replayed = live.flatMap((sequence, i) => [sequence, ...upwards(20_000 + i * 3, 3)]);
  const before = await discards();
  expect(await pass(replayed)).toBe(live.length);
  expect(await discards()).toBe(before + replayed.length - live.length);
  sender.close();
  port.close();
});
