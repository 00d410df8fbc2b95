/** Congestion marks between the outer and the inner IP header, by the kernel's sockets. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { type Host, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, sessionObject } from "../harness/objects.ts";
import { managedBy, variantTunnel } from "../harness/switch.ts";
import { PORT } from "../harness/tunnel-by.ts";
import { until } from "../harness/wait.ts";
import { WirePeer } from "../harness/wire-peer.ts";

const ECT0 = 2;
const CE = 3;

let net: TestNet;
let agents: [TestAgent, TestAgent];

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

async function attach(index: 0 | 1): Promise<string> {
  const { host, socket } = agents[index];
  const netns = await net.addPod(`pod${index}`);
  const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
  const rest = { session: "shop/lan", socket, runtimeConfig };
  const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
  const answer = await cni(host, { command: "ADD", netns, containerId: nameOf(netns), config });
  expect(answer.status, answer.stdout).toBe(0);
  return netns;
}

/** The ECN of large packets that host b receives, while a pod pings with ECT(0). */
async function sentEcn(pod: string): Promise<number[]> {
  const port = new FramePort(net.b.netns, net.b.device);
  expect(await ping(pod, "10.1.0.2", { size: 1200, args: ["-Q", "0x02"] })).toBe(true);
  const seen = new Set<number>();
  for (let frame = port.receive(); frame !== null; frame = port.receive()) {
    if (frame.length < 1000) continue;
    const isIpv6 = frame.readUInt16BE(12) === 0x86dd;
    seen.add((isIpv6 ? frame.readUInt8(15) >> 4 : frame.readUInt8(15)) & 3);
  }
  port.close();
  return [...seen];
}

/** An Ethernet broadcast with an IPv4 datagram of an experimental protocol. */
function frameOf(ecn: number): Buffer {
  const frame = Buffer.alloc(60);
  frame.fill(0xff, 0, 6);
  frame.writeUInt8(2, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame.write("4500002c0000400040fd0000", 14, "hex");
  frame.writeUInt8(ecn, 15);
  return frame;
}

it.each([
  ["UDP", 4],
  ["UDP", 6],
  ["IP", 4],
  ["IP", 6],
] as const)(
  "a static tunnel by %s over IPv%i copies ECN, and passes marks on",
  async (encapsulation, family) => {
    const variant = { encapsulation, family, cookieBytes: 0, sublayer: "Default" } as const;
    const spec: Partial<TunnelSpec> = { datapath: "Userspace", ecn: true };
    const [a, b] = [net.a, net.b];
    agents[0].write("all.yaml", [
      variantTunnel("t", a, b, variant, 1, spec),
      sessionObject("lan", "t"),
    ]);
    agents[1].write("all.yaml", [
      variantTunnel("t", b, a, variant, 1, spec),
      sessionObject("lan", "t"),
    ]);
    for (const agent of agents) await agent.start();
    const pod = await attach(0);
    await attach(1);
    await until("frames cross", () => ping(pod, "10.1.0.2"));
    expect(await sentEcn(pod)).toEqual([ECT0]);

    // A congested router is the only one that marks: the peer's place is taken by a socket that sends marked packets.
    await agents[1].kill();
    process.kill(await agents[1].datapathPid(), "SIGKILL");
    const end = (host: Host) => ({
      address: family === 4 ? host.ipv4 : host.ipv6,
      port: encapsulation === "UDP" ? PORT : 0,
    });
    const peer = await until("the peer's socket is free", () => {
      return new WirePeer(b.netns, encapsulation, end(b), end(a), CE);
    });
    const port = new FramePort(pod, "net1");
    try {
      const message = { sessionId: 128, cookie: "", sublayer: "Default" } as const;
      const marked = await until("the frame arrives", () => {
        peer.sendData({ ...message, frame: frameOf(ECT0) });
        for (let frame = port.receive(); frame !== null; frame = port.receive()) {
          if (frame.length === 60 && frame.readUInt8(23) === 0xfd) return frame;
        }
        return undefined;
      });
      expect(marked.readUInt8(15)).toBe(CE);
      peer.sendData({ ...message, frame: frameOf(0) });
      await until("the frame of another sender is dropped", async () => {
        const counters = (await agents[0].session("shop/lan"))?.counters;
        return (counters?.rxCongestionDiscards ?? 0) > 0;
      });
    } finally {
      port.close();
      peer.close();
    }
  },
);

it.each([
  ["both ends", true, [ECT0]],
  ["one end only", false, [0]],
] as const)("a managed tunnel copies ECN as %s want it", async (_who, theirs, expected) => {
  const userspace = { datapath: "Userspace" };
  const more = { ...userspace, ecn: true };
  agents[0].write("all.yaml", [managedBy("t", net.a, net.b, more), managedSession("lan", "t")]);
  const far = { ...userspace, ecn: theirs };
  agents[1].write("all.yaml", [managedBy("t", net.b, net.a, far), managedSession("lan", "t")]);
  for (const agent of agents) await agent.start();
  const pod = await attach(0);
  await attach(1);
  await until("frames cross", () => ping(pod, "10.1.0.2"));
  expect(await sentEcn(pod)).toEqual(expected);
  const { findings } = await agents[0].ask({ op: "doctor", seconds: 0 });
  const about = findings.filter(({ finding }) => finding.includes("congestion marks"));
  expect(about).toHaveLength(theirs ? 0 : 1);
});
