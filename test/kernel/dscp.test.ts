/** The DSCP of tunnels in the kernel. The agent sets it on their sockets. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agents: [TestAgent, TestAgent];

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  for (const agent of agents) await agent.teardownOrKill();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const WAYS: [string, Partial<TunnelSpec>, "ipv4" | "ipv6"][] = [
  ["UDP over IPv4", {}, "ipv4"],
  ["IP over IPv6", { encapsulation: "IP" }, "ipv6"],
];

it.each(WAYS)("is that of the socket, over %s", async (_what, spec, address) => {
  const port = spec.encapsulation === "IP" ? {} : { port: 5000 };
  const pods: string[] = [];
  for (const index of [0, 1] as const) {
    const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
    const ends = {
      local: { address: local[address], ...port },
      remote: { address: remote[address], ...port },
    };
    const dscp = index === 0 ? { datapath: "Kernel" as const, dscp: 34 } : {};
    agents[index].write("all.yaml", [
      tunnelObject("t", local, remote, { datapath: "Userspace", ...ends, ...spec, ...dscp }),
      sessionObject("lan", "t"),
    ]);
    await agents[index].start();
    const netns = await net.addPod(`pod${index}`);
    pods.push(netns);
    const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
    const rest = { session: "shop/lan", socket: agents[index].socket, runtimeConfig };
    const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
    const call = { command: "ADD", netns, containerId: nameOf(netns), config };
    const answer = await cni(agents[index].host, call);
    expect(answer.status, answer.stdout).toBe(0);
  }
  await until("frames cross", () => ping(pods[0] ?? "", "10.1.0.2"));
  expect((await agents[0].ask({ op: "tunnels" }))[0]?.datapath).toBe("Kernel");
  const port0 = new FramePort(net.b.netns, net.b.device);
  const classes = new Set<number>();
  await until("a large packet is on the wire", async () => {
    await ping(pods[0] ?? "", "10.1.0.2", { size: 1200 });
    for (let frame = port0.receive(); frame !== null; frame = port0.receive()) {
      if (frame.length < 1000) continue;
      const isIpv6 = frame.readUInt16BE(12) === 0x86dd;
      classes.add(isIpv6 ? (frame.readUInt16BE(14) >> 4) & 0xff : frame.readUInt8(15));
    }
    return classes.size > 0;
  });
  port0.close();
  expect([...classes]).toEqual([0x88]);
});
