/** Two pods of one datapath process send without pause: both get an equal share. */
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { COST } from "../../datapath/userspace/packet/deficit.ts";
import { TestAgent } from "../harness/agent.ts";
import { inside, nameOf, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const FLOOD = fileURLToPath(new URL("../harness/segment-flood.ts", import.meta.url));
const SESSIONS = ["flood", "other"] as const;
type Name = (typeof SESSIONS)[number];
/** The least amount of the flood between two readings of the counters. */
const WINDOW = 200_000_000;
const WINDOWS = 5;
/** Allows for turns that exceed their share, and for a machine that is too busy for two floods. */
const LEAST_RATIO = 0.7;

let net: TestNet;
let agent: TestAgent;
const background = new Background();

afterEach(async () => {
  await background.stopAll();
  await agent.destroy();
  await net.remove();
});

async function attach(name: Name): Promise<string> {
  const netns = await net.addPod(name);
  const whose = { containerId: name, cniIfname: "net1", ifname: "net1", netns, pod: null };
  const rest = { network: "share", mac: null, addresses: [], routes: [], ipam: null };
  await agent.ask({ op: "attach", ...whose, session: `shop/${name}`, ...rest });
  return netns;
}

async function flood(netns: string, kind: string): Promise<void> {
  let output = "";
  const program = [process.execPath, FLOOD, "net1", kind];
  background.start(inside(nameOf(netns), ...program), (text) => {
    output += text;
  });
  await until(`the flood starts: ${output}`, () => output.includes("flooding"));
}

/** The process's cost of the session's frames so far. */
async function spent(name: Name): Promise<number> {
  const { txBytes = 0, txPackets = 0 } = (await agent.session(`shop/${name}`))?.counters ?? {};
  return txBytes + txPackets * COST.datagram;
}

const both = async () => [await spent("flood"), await spent("other")] as const;

/** The other pod's cost, divided by the flood's. */
async function ratio(): Promise<number> {
  const before = await both();
  const after = await until("both keep sending", async () => {
    const now = await both();
    return now[0] - before[0] >= WINDOW && now[1] > before[1] ? now : undefined;
  });
  return (after[1] - before[1]) / (after[0] - before[0]);
}

it.each([
  ["frames with the largest number of segments", "tiny"],
  ["such frames, alternating with small ones", "mixed"],
])("shares the process with a pod that floods it with %s", async (_what, kind) => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b),
    ...SESSIONS.map((name, index) =>
      sessionObject(name, "t", { sessionId: index + 1, peerSessionId: index + 1 }),
    ),
  ]);
  await agent.start();
  await until("the sessions are known", () => agent.session("shop/other"));
  const pods = [await attach("flood"), await attach("other")] as const;
  await flood(pods[0], kind);
  await flood(pods[1], "large");
  const ratios: number[] = [];
  await until(
    "the other pod gets its share",
    async () => {
      ratios.push(await ratio());
      const last = ratios.slice(-WINDOWS).sort((a, b) => a - b);
      return last.length === WINDOWS && (last[WINDOWS >> 1] ?? 0) >= LEAST_RATIO;
    },
    10_000,
  ).catch((error: Error) => {
    throw new Error(`${error.message}: ${ratios.map((each) => each.toFixed(2)).join(" ")}`);
  });
  expect(ratios.length).toBeGreaterThanOrEqual(WINDOWS);
});
