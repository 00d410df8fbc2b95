/** The DSCP of a tunnel's packets on the wire. */
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
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

async function start(spec: Partial<TunnelSpec>, family: 4 | 6): Promise<string> {
  const address = family === 4 ? "ipv4" : "ipv6";
  const port = spec.encapsulation === "IP" ? {} : { port: 5000 };
  const pods: string[] = [];
  for (const index of [0, 1] as const) {
    const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
    const ends = {
      local: { address: local[address], ...port },
      remote: { address: remote[address], ...port },
    };
    agents[index].write("all.yaml", [
      tunnelObject("t", local, remote, { datapath: "Userspace", ...ends, ...spec }),
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
  return pods[0] ?? "";
}

/** Returns the traffic classes of large packets that host b receives. */
function classesOf(port: FramePort): number[] {
  const classes: number[] = [];
  for (let frame = port.receive(); frame !== null; frame = port.receive()) {
    const isIpv6 = frame.readUInt16BE(12) === 0x86dd;
    if (frame.length < 1000) continue;
    classes.push(isIpv6 ? (frame.readUInt16BE(14) >> 4) & 0xff : frame.readUInt8(15));
  }
  return classes;
}

const WAYS: [string, Partial<TunnelSpec>, 4 | 6][] = [
  ["UDP over IPv4", {}, 4],
  ["UDP over IPv6", {}, 6],
  ["IP over IPv4", { encapsulation: "IP" }, 4],
  ["IP over IPv6", { encapsulation: "IP" }, 6],
];

it.each(WAYS)("is the configured number, or is copied, over %s", async (_what, spec, family) => {
  const pod = await start({ ...spec, dscp: 34 }, family);
  const port = new FramePort(net.b.netns, net.b.device);
  const seen = async (tos: string) => {
    classesOf(port);
    expect(await ping(pod, "10.1.0.2", { size: 1200, args: ["-Q", tos] })).toBe(true);
    return [...new Set(classesOf(port))];
  };
  expect(await seen("0xb8")).toEqual([0x88]);
  const [local, remote] = [net.a, net.b];
  const address = family === 4 ? "ipv4" : "ipv6";
  const port5000 = spec.encapsulation === "IP" ? {} : { port: 5000 };
  const ends = {
    local: { address: local[address], ...port5000 },
    remote: { address: remote[address], ...port5000 },
  };
  agents[0].write("all.yaml", [
    tunnelObject("t", local, remote, { datapath: "Userspace", ...ends, ...spec, dscp: "Copy" }),
    sessionObject("lan", "t"),
  ]);
  await until("the DSCP is copied", async () => (await seen("0xb8"))[0] === 0xb8);
  expect(await seen("0x00")).toEqual([0]);
  port.close();
});

it.each([4, 6] as const)(
  "is the configured number on the fast path, over IPv%i",
  async (family) => {
    const pod = await start({ udpChecksum: false, fastPath: true, dscp: 34 }, family);
    await until("the session is on the fast path", async () => {
      await ping(pod, "10.1.0.2");
      return (await agents[0].session("shop/lan"))?.fastPath === true;
    });
    const port = new FramePort(net.b.netns, net.b.device);
    expect(await ping(pod, "10.1.0.2", { size: 1200, args: ["-Q", "0xb8"] })).toBe(true);
    expect([...new Set(classesOf(port))]).toEqual([0x88]);
    port.close();
  },
);
