/** Pseudowires of type IP on a kernel with L2TP: the kernel does not support them, and the process forwards them. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { L2tpNetlink, type NewKernelSession } from "../../datapath/kernel/l2tp-netlink.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { ip, link, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { streamTcp, streamUdp, wrongChecksums } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

/** L2TP_PWTYPE_IP. */
const IP = 11;

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterAll(async () => {
  await agents[0]?.teardownOrKill();
  for (const agent of agents ?? []) await agent.destroy();
  await net?.remove();
});

it("is not supported by the kernel", async () => {
  const l2tp = L2tpNetlink.open(null);
  const tunnel = {
    tunnelId: 12,
    peerTunnelId: 12,
    protocolVersion: 3,
    encapsulation: "UDP",
  } as const;
  const ends = { local: net.a.ipv4, remote: net.b.ipv4, localPort: 1702, remotePort: 1702 };
  expect(l2tp.createTunnels([{ ...tunnel, ...ends, udpChecksum: true }])).toEqual([null]);
  const session: NewKernelSession = {
    ...{ tunnelId: 12, sessionId: 13, peerSessionId: 13, pseudowireType: IP },
    ...{ l2SpecificSublayer: "Default", txCookie: "", rxCookie: "", interface: "" },
    ...{ sendSequence: false, receiveSequence: false, reorderTimeoutMs: 0, lnsMode: false },
  };
  expect(l2tp.createSessions([session])[0]?.message).toContain("EPROTONOSUPPORT");
  l2tp.deleteTunnel(12);
  l2tp.close();
});

it("is refused in a kernel tunnel, and its status has the reason", async () => {
  agents[0].write("all.yaml", [
    tunnelObject("branch", net.a, net.b, { datapath: "Kernel" }),
    sessionObject("lan", "branch", { pseudowireType: "IP" }),
  ]);
  await agents[0].start();
  const programmed = () => agents[0].condition("l2tpsession", "shop/lan", "Programmed");
  await until("the session is refused", () => programmed()?.reason === "NotInKernel");
  expect(programmed()?.message).toContain("EPROTONOSUPPORT");
});

it("moves a tunnel of datapath Auto to the process, and large frames cross", async () => {
  const hosts = [net.a, net.b] as const;
  for (const [index, agent] of agents.entries()) {
    const [local, remote] = [hosts[index], hosts[1 - index]] as [typeof net.a, typeof net.a];
    agent.write("all.yaml", [
      tunnelObject("branch", local, remote),
      sessionObject("lan", "branch", { pseudowireType: "IP" }),
    ]);
  }
  await agents[1].start();
  await until("the tunnel is in the process", async () => {
    const [row] = await agents[0].ask({ op: "tunnels" });
    return row?.datapath === "Userspace";
  });
  const why = agents[0].condition("l2tptunnel", "branch", "Programmed")?.message;
  expect(why).toContain("EPROTONOSUPPORT");
  for (const [index, agent] of agents.entries()) {
    const ips = [`10.1.0.${index + 1}/24`, `fd00::${index + 1}/64`];
    const named = { cniVersion: "1.0.0", name: "n", type: "l2tp", session: "shop/lan" };
    const config = { ...named, socket: agent.socket, runtimeConfig: { ips } };
    const answer = await cni(agent.host, { command: "ADD", netns: pods[index] ?? "", config });
    expect(answer.status, answer.stdout).toBe(0);
  }
  expect(await link(pods[0], "net1")).toMatchObject({ mtu: 1460, link_type: "none" });
  for (const addresses of [
    ["10.1.0.1", "10.1.0.2"],
    ["fd00::1", "fd00::2"],
  ] as const) {
    const near = { netns: pods[0], address: addresses[0] };
    const far = { netns: pods[1], address: addresses[1] };
    const before = await sent();
    const stream = await streamTcp(near, far, 4_000_000);
    const after = await sent();
    // A large frame is several packets on the wire; its size depends on the machine's speed.
    expect(after.wire - before.wire).toBeGreaterThan(1.5 * (after.device - before.device));
    for (const { sent: bytes, received } of [stream, await streamUdp(far, near, 100_000)]) {
      expect(received).toEqual(bytes);
    }
  }
  for (const pod of pods) expect(await wrongChecksums(pod)).toBe(0);
});

/** Frames read from the near pod's device, and packets sent for them. */
async function sent() {
  const json = await ip(pods[0], "-j", "-s", "link", "show", "net1");
  const [{ stats64 }] = JSON.parse(json) as [{ stats64: { tx: { packets: number } } }];
  const wire = (await agents[0].session("shop/lan"))?.counters.txPackets ?? 0;
  return { device: stats64.tx.packets, wire };
}
