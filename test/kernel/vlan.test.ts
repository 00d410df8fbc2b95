/** EthernetVLAN sessions in the kernel: l2tpeth with tc filters; the peer has a VLAN device on l2tpeth. */
import { rmSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { quieten } from "../harness/kernel-node.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { inside, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run, tryRun } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import { taggedFrame } from "../harness/vlan.ts";
import { until } from "../harness/wait.ts";

type Vlan = NonNullable<SessionSpec["vlan"]>;

const PEER_VLAN = 200;
const FAR = "10.1.0.9";
/** The peer's device in the VLAN. */
const FAR_DEVICE = `peer0.${PEER_VLAN}`;

let net: TestNet;
let agent: TestAgent;
let pods = 0;

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  agent = new TestAgent(net.a);
  // The peer's kernel must send no untagged frames: the tests count the frames that the agent drops.
  await quieten(net.b.name);
  await addKernelPeer(net.b, net.a);
  await addVlan(net.b.name, "peer0", PEER_VLAN, `${FAR}/24`);
  await agent.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  for (const { containerId, cniIfname } of await agent.ask({ op: "attachments" })) {
    await agent.ask({ op: "detach", containerId, cniIfname, netns: null });
  }
});

afterAll(async () => {
  await agent.kill();
  expect((await agent.teardown()).status).toBe(0);
  await agent.destroy();
  await net.remove();
});

async function addVlan(namespace: string, on: string, id: number, address: string): Promise<void> {
  const name = `${on}.${id}`;
  await ip(namespace, "link", "add", "link", on, "name", name, "type", "vlan", "id", String(id));
  await ip(namespace, "addr", "add", address, "dev", name);
  await ip(namespace, "link", "set", name, "up");
}

const sessionOf = (vlan: Vlan, more: object = {}) =>
  sessionObject("lan", "t", { pseudowireType: "EthernetVLAN", vlan, ...more });

/** Writes the objects, and waits until they are programmed. */
async function write(vlan: Vlan, more: object = {}, tunnel: Partial<TunnelSpec> = {}) {
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b, { datapath: "Kernel", ...tunnel }),
    sessionOf(vlan, more),
  ]);
  await until("the session is programmed", async () => {
    const row = await agent.session("shop/lan");
    return row?.conditions.find(({ type }) => type === "Programmed")?.status === "True";
  });
}

async function attach(address = "10.1.0.1/24"): Promise<string> {
  const netns = await net.addPod(`p${pods++}`);
  const rest = { session: "shop/lan", socket: agent.socket, runtimeConfig: { ips: [address] } };
  const config = { cniVersion: "1.0.0", name: "vlan", type: "l2tp", ...rest };
  const containerId = nameOf(netns);
  const call = { command: "ADD", netns, containerId, config };
  await until("the pod has its interface", async () => (await cni(net.a, call)).status === 0);
  return netns;
}

const tc = (netns: string, ...args: string[]) => run(["tc", "-n", nameOf(netns), ...args]);
const counters = async () => (await agent.session("shop/lan"))?.counters ?? {};
const crosses = (netns: string, address = FAR) => until("frames cross", () => ping(netns, address));

describe("in mode Direct", () => {
  it("pushes and pops the tag of an untagged pod", async () => {
    await write({ id: 100, peerId: PEER_VLAN });
    const pod = await attach();
    await crosses(pod);
    const net1 = await link(pod, "net1");
    // IPv4, UDP, L2TP with its sublayer, the Ethernet header and the tag.
    expect(net1?.mtu).toBe(1500 - 20 - 8 - 12 - 14 - 4);
    const args = ["-M", "do"];
    const size = (net1?.mtu ?? 0) - 28;
    expect(await ping(pod, FAR, { count: 10, size, args })).toBe(true);
    expect(await counters()).toMatchObject({ rxUntagged: 0, rxOtherVlan: 0, txInnerTagged: 0 });
    const { sent, received } = await streamTcp(
      { netns: pod, address: "10.1.0.1" },
      { netns: net.b.netns, address: FAR },
      1_000_000,
    );
    expect(received).toEqual(sent);
    const dump = await agent.ask({ op: "dump" });
    expect(dump.map(({ type }) => type)).toContain("EthernetVLAN");
    expect(await ip(net.a.name, "l2tp", "show", "session")).toMatch(/interface name: l2qp-128/);
  });

  it("drops and counts the peer's frames of other VLANs, and forwards inner tags", async () => {
    await write({ id: 100, peerId: PEER_VLAN });
    const pod = await attach();
    await crosses(pod);
    const before = await counters();
    const far = new FramePort(net.b.netns, "peer0");
    const strange = ["", "8100e000", "8100012c", "88a800c8", "8100012c810000c8"];
    for (const tags of strange) far.send(Buffer.from(taggedFrame(tags, 9), "hex"));
    far.send(Buffer.from(taggedFrame("8100006481000007", 2), "hex"));
    far.send(Buffer.from(taggedFrame("810000c888a80007", 3), "hex"));
    far.close();
    await until("the drops are counted", async () => {
      const after = await counters();
      const grown = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
      return (
        grown("rxUntagged") === 2 && grown("rxOtherVlan") === 3 && grown("rxInnerTagged") === 2
      );
    });
    // The pod receives no frames of another VLAN, and no untagged frames.
    await addVlan(net.b.name, "peer0", 300, "10.1.0.7/32");
    await ip(net.b.name, "route", "add", "10.1.0.1/32", "dev", "peer0.300", "src", "10.1.0.7");
    expect(await ping(net.b.name, "10.1.0.1")).toBe(false);
    await ip(net.b.name, "route", "change", "10.1.0.1/32", "dev", "peer0", "src", "10.1.0.7");
    expect(await ping(net.b.name, "10.1.0.1")).toBe(false);
    await ip(net.b.name, "route", "del", "10.1.0.1/32");
    await ip(net.b.name, "link", "del", "peer0.300");
    await crosses(pod);
  });

  it("restores filters that a pod deleted, and keeps the pod's own filters", async () => {
    await write({ id: 100, peerId: PEER_VLAN });
    const pod = await attach();
    await crosses(pod);
    const shown = () => tc(pod, "filter", "show", "dev", "net1", "egress");
    expect(await shown()).toMatch(/vlan\s+push id 200/);
    await tc(pod, "qdisc", "del", "dev", "net1", "clsact");
    await until("the filters are restored", async () => /vlan\s+push id 200/.test(await shown()));
    await crosses(pod);
    const own = ["filter", "add", "dev", "net1", "egress", "prio", "1", "protocol", "all"];
    await tc(pod, ...own, "flower", "dst_mac", "02:00:00:00:00:77", "action", "drop");
    await agent.kill();
    expect(await ping(pod, FAR, { count: 5 })).toBe(true);
    await agent.start();
    expect(await ping(pod, FAR, { count: 5 })).toBe(true);
    expect(await shown()).toContain("02:00:00:00:00:77");
  });

  it("changes the VLAN of the existing device", async () => {
    await write({ id: 100, peerId: 300 });
    const pod = await attach();
    const index = (await link(pod, "net1"))?.ifindex;
    expect(await ping(pod, FAR)).toBe(false);
    await write({ id: 100, peerId: PEER_VLAN });
    await crosses(pod);
    expect((await link(pod, "net1"))?.ifindex).toBe(index);
  });

  it("translates the tag of a tagged pod", async () => {
    await write({ id: 100, peerId: PEER_VLAN, pod: "Tagged" });
    const pod = await attach("10.2.0.1/24");
    await addVlan(nameOf(pod), "net1", 100, "10.1.0.1/24");
    await crosses(pod);
    const size = ((await link(pod, "net1"))?.mtu ?? 0) - 28;
    expect(await ping(pod, FAR, { count: 10, size, args: ["-M", "do"] })).toBe(true);
    // Frames of another VLAN and untagged frames are not sent.
    await addVlan(nameOf(pod), "net1", 300, "10.3.0.1/24");
    const before = await counters();
    await tryRun(inside(pod, "ping", "-c", "2", "-W", "1", "10.3.0.9"));
    await tryRun(inside(pod, "ping", "-c", "2", "-W", "1", "10.2.0.9"));
    const after = await counters();
    expect(after.txOtherVlan ?? 0).toBeGreaterThan(before.txOtherVlan ?? 0);
    expect(after.txUntagged ?? 0).toBeGreaterThan(before.txUntagged ?? 0);
  });

  it("is recreated when the type changes", async () => {
    await write({ id: 100, peerId: PEER_VLAN });
    const pod = await attach();
    await crosses(pod);
    agent.write("all.yaml", [
      tunnelObject("t", net.a, net.b, { datapath: "Kernel" }),
      sessionObject("lan", "t"),
    ]);
    const shown = () => ip(net.a.name, "l2tp", "show", "session");
    await until("the session is of type Ethernet", async () => /l2tp-128/.test(await shown()));
    await until("the device is in the pod", async () => (await link(pod, "net1")) !== undefined);
    await ip(net.b.name, "addr", "add", "10.1.0.8/24", "dev", "peer0");
    await ip(net.b.name, "addr", "del", `${FAR}/24`, "dev", FAR_DEVICE);
    try {
      await crosses(pod, "10.1.0.8");
    } finally {
      await ip(net.b.name, "addr", "del", "10.1.0.8/24", "dev", "peer0");
      await ip(net.b.name, "addr", "add", `${FAR}/24`, "dev", FAR_DEVICE);
    }
  });
});

it("serves pods by a bridge", async () => {
  await write({ id: 100, peerId: PEER_VLAN }, { attachment: { mode: "Bridge" } });
  const one = await attach("10.1.0.1/24");
  const two = await attach("10.1.0.2/24");
  await crosses(one);
  await crosses(two);
  expect(await ping(one, "10.1.0.2")).toBe(true);
});

it("programs a new tunnel of datapath Auto in userspace if tc lacks a module, and reports that", async () => {
  agent.remove("all.yaml");
  await until(
    "the session is deleted",
    async () => (await agent.session("shop/lan")) === undefined,
  );
  await agent.kill();
  const blocked = "/etc/modprobe.d/l2tp-test.conf";
  // The kernel frees filters asynchronously.
  await until("act_vlan is unloaded", async () => {
    const { status } = await tryRun(["modprobe", "-r", "act_vlan"]);
    return status === 0;
  });
  writeFileSync(blocked, "install act_vlan /bin/false\n");
  try {
    await agent.start();
    await write({ id: 100, peerId: PEER_VLAN }, {}, { datapath: "Auto" });
    const programmed = agent.condition("l2tptunnel", "t", "Programmed");
    expect(programmed?.message).toContain("act_vlan");
    expect((await agent.ask({ op: "tunnels" }))[0]?.datapath).toBe("Userspace");
    const pod = await attach();
    await crosses(pod);
    agent.write("all.yaml", [
      tunnelObject("t", net.a, net.b, { datapath: "Kernel" }),
      sessionOf({ id: 100 }),
    ]);
    await until(
      "the session is refused in the kernel",
      () => agent.condition("l2tpsession", "shop/lan", "Programmed")?.reason === "NotInKernel",
    );
    expect(agent.condition("l2tpsession", "shop/lan", "Programmed")?.message).toContain("act_vlan");
  } finally {
    rmSync(blocked);
  }
  await agent.kill();
  await agent.start();
  agent.remove("all.yaml");
  await until(
    "the session is deleted",
    async () => (await agent.session("shop/lan")) === undefined,
  );
  await write({ id: 100, peerId: PEER_VLAN }, {}, { datapath: "Auto" });
  expect((await agent.ask({ op: "tunnels" }))[0]?.datapath).toBe("Kernel");
});

it("is signaled as type 4 in a managed tunnel", async () => {
  agent.remove("all.yaml");
  await until(
    "the session is deleted",
    async () => (await agent.session("shop/lan")) === undefined,
  );
  const hello = { interval: "1s", deadAfter: "10s" };
  const far = new TestAgent(net.b);
  const vlan = { pseudowireType: "EthernetVLAN", vlan: { id: 100 } };
  far.write("all.yaml", [
    managedTunnel("t", net.b, net.a, { hello, initiate: false, role: "LNS" }),
    managedSession("lan", "t", vlan),
  ]);
  agent.write("all.yaml", [
    managedTunnel("t", net.a, net.b, { hello }, { datapath: "Kernel" }),
    managedSession("lan", "t", vlan),
  ]);
  try {
    await far.start();
    const pod = await attach();
    const farPod = await net.addPod("far");
    const rest = {
      session: "shop/lan",
      socket: far.socket,
      runtimeConfig: { ips: ["10.1.0.2/24"] },
    };
    const config = { cniVersion: "1.0.0", name: "vlan", type: "l2tp", ...rest };
    await until("the far pod has its interface", async () => {
      const answer = await cni(net.b, { command: "ADD", netns: farPod, config });
      return answer.status === 0;
    });
    await crosses(pod, "10.1.0.2");
    expect(await ip(net.a.name, "l2tp", "show", "session")).toMatch(/interface name: l2q[pn]-/);
    const shown = await tc(pod, "filter", "show", "dev", "net1", "egress");
    expect(shown).toMatch(/vlan\s+push id 100/);
  } finally {
    await far.destroy();
  }
});
