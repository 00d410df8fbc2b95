/** l2tpctl trace with the kernel datapath: static with ip-l2tp(8) or a test peer, and managed. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { experimentalFrame } from "../harness/frames.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { MessageSender } from "../harness/sender.ts";
import { TestTrace } from "../harness/trace.ts";
import { COOKIES } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const KERNEL = { datapath: "Kernel" as const };

let net: TestNet;
let agents: [TestAgent, TestAgent];
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const trace = (...args: string[]) => TestTrace.start(agents[0], background, ...args);

async function add(index: 0 | 1, netns: string) {
  const { host, socket } = agents[index];
  const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
  const config = { cniVersion: "1.0.0", name: "x", type: "l2tp", session: "shop/lan" };
  const full = { ...config, socket, runtimeConfig };
  return cni(host, { command: "ADD", netns, config: full });
}

async function startOne(session: Partial<SessionSpec>, encapsulation: "UDP" | "IP" = "UDP") {
  const ends =
    encapsulation === "UDP"
      ? {}
      : { local: { address: net.a.ipv4 }, remote: { address: net.b.ipv4 } };
  const [a] = agents;
  a.write("all.yaml", [
    tunnelObject("branch", net.a, net.b, { ...KERNEL, ...ends, encapsulation }),
    sessionObject("lan", "branch", session),
  ]);
  await a.start();
  const pod = await net.addPod("pod");
  const answer = await add(0, pod);
  expect(answer.status, answer.stdout).toBe(0);
  return pod;
}

describe("headers of frames", () => {
  it.each(["UDP", "IP"] as const)(
    "are shown in both directions, over %s",
    async (encapsulation) => {
      const [ours, theirs] = COOKIES[8];
      const cookies = { receive: { value: ours }, transmit: { value: theirs } };
      const peer = { txCookie: ours, rxCookie: theirs, address: "10.1.0.2/24" };
      const pod = await startOne({ cookies }, encapsulation);
      await addKernelPeer(net.b, net.a, { ...peer, encapsulation });
      const traced = await trace("shop/lan");
      await until("frames cross", () => ping(pod, "10.1.0.2"));
      const port = encapsulation === "UDP" ? ":5000" : "";
      for (const [from, to] of [
        [net.a, net.b],
        [net.b, net.a],
      ] as const) {
        const head = `${from.ipv4}${port} > ${to.ipv4}${port} shop/lan session 128, cookie matches`;
        const line = `${head.replaceAll(".", "\\.")}, sublayer, [^\n]*, IPv4, 98 octets\n`;
        await traced.prints(new RegExp(line));
      }
      for (const cookie of [ours, theirs]) expect(traced.output).not.toContain(cookie);
      expect(await traced.interrupt()).toBe(0);
    },
  );

  it("show what is wrong with a frame", async () => {
    const [ours, theirs] = COOKIES[4];
    await startOne({ cookies: { receive: { value: ours }, transmit: { value: theirs } } });
    const traced = await trace("branch");
    const sender = new MessageSender(net.b, net.a);
    sender.send({ cookie: theirs, sequence: null });
    sender.send({ sessionId: 4711, sequence: null });
    sender.send({ cookie: ours, sequence: null, frame: experimentalFrame(1600) });
    await traced.prints(/COOKIE MISMATCH/);
    await traced.prints(/session 4711, .*\n {4}! no session of the tunnel has this ID/);
    sender.close();
  });
});

describe("decisions by sequence numbers", () => {
  it("are the kernel's, and equal its counters", async () => {
    await startOne({ sequencing: { receive: true } });
    const [a] = agents;
    const traced = await trace("shop/lan", "--sequence");
    const sender = new MessageSender(net.b, net.a);
    const received = async () => (await a.session("shop/lan"))?.counters.rxPackets ?? 0;
    const before = await received();
    // The kernel expects 0 first. A run of six after a loss is followed.
    for (const sequence of [0, 1, 3, 4, 5, 6, 7, 8, 9]) sender.send({ sequence });
    await traced.prints(/sequence 8: accepted: the sender restarted its count/);
    await traced.prints(/sequence 9: deliv/);
    for (const sequence of [0, 1]) expect(traced.output).toContain(`sequence ${sequence}: deliv`);
    for (const sequence of [3, 4, 5, 6, 7]) {
      expect(traced.output).toContain(`sequence ${sequence}: dropped: out of order, expected 2`);
    }
    await traced.counts("rxSeqDiscards", 5);
    await until("the session counts four frames", async () => (await received()) - before === 4);
    sender.close();
  });
});

it("shows control messages of a managed kernel tunnel, and ends with the tunnel", async () => {
  for (const [index, agent] of agents.entries()) {
    const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
    const role = index === 0 ? {} : { initiate: false, role: "LNS" };
    const control = { hello: { interval: "1s", deadAfter: "10s" }, ...role };
    agent.write("all.yaml", [
      managedTunnel("branch", local, remote, control, KERNEL),
      managedSession("lan", "branch"),
    ]);
  }
  const [a, b] = agents;
  await a.start();
  const traced = await trace("branch", "--control", "--data");
  await b.start();
  for (const word of ["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN", "HELLO"]) {
    await traced.prints(new RegExp(` ${word} to connection `));
  }
  expect(traced.output).toContain("Assigned Cookie (8 octets)");
  const pods = [await net.addPod("left"), await net.addPod("right")] as const;
  for (const index of [0, 1] as const) {
    await until(
      "the pod has its interface",
      async () => (await add(index, pods[index])).status === 0,
    );
  }
  await until("frames cross", () => ping(pods[0], "10.1.0.2"));
  await traced.prints(/shop\/lan session \d+, cookie matches, .*, IPv4, 98 octets\n/);
  expect(traced.output).not.toMatch(/MISMATCH|(Cookie|Nonce)[^\n]* [0-9a-f]{8}/);
  a.remove("all.yaml");
  expect(await traced.ended()).toBe(0);
  await traced.prints(/Trace ended: no L2tpTunnel branch on node /);
});
