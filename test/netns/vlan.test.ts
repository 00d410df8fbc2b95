/** EthernetVLAN sessions between pods, and with a peer that sends given frames. */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { inside, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp, streamUdp } from "../harness/streams.ts";
import { datagramOfPing } from "../harness/tshark.ts";
import { RawPeer, taggedFrame } from "../harness/vlan.ts";
import { until } from "../harness/wait.ts";

const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
type Vlan = NonNullable<SessionSpec["vlan"]>;

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];
const closers: (() => void)[] = [];

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  for (const close of closers.splice(0)) close();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const sessionOf = (vlan: Vlan, more: object = {}) => ({
  pseudowireType: "EthernetVLAN" as const,
  l2SpecificSublayer: "None" as const,
  vlan,
  ...more,
});

/** Writes the objects of one end, or of both. */
function write(left: object, right?: object, tunnel: object = {}): void {
  const { a, b } = net;
  const plain = { udpChecksum: true, fastPath: false, datapath: "Userspace", ...tunnel } as const;
  agents[0].write("all.yaml", [tunnelObject("t", a, b, plain), sessionObject("lan", "t", left)]);
  if (right === undefined) return;
  agents[1].write("all.yaml", [tunnelObject("t", b, a, plain), sessionObject("lan", "t", right)]);
}

async function attach(index: 0 | 1, netns = pods[index], address = `10.1.0.${index + 1}/24`) {
  const { host, socket } = agents[index];
  const rest = { session: "shop/lan", socket, runtimeConfig: { ips: [address] } };
  const config = { cniVersion: "1.0.0", name: "vlan", type: "l2tp", ...rest };
  const containerId = nameOf(netns);
  const answer = await cni(host, { command: "ADD", netns, containerId, config });
  expect(answer.status, answer.stdout).toBe(0);
}

async function startBoth(left: object, right: object, tunnel: object = {}): Promise<void> {
  write(left, right, tunnel);
  for (const agent of agents) await agent.start();
  await attach(0);
  await attach(1);
  await until("frames cross", () => ping(pods[0], "10.1.0.2"));
}

const countersOf = async (index: 0 | 1) =>
  (await agents[index].session("shop/lan"))?.counters ?? {};

function rawPeer(): RawPeer {
  const peer = new RawPeer(net.b, net.a);
  closers.push(() => peer.close());
  return peer;
}

function podPort(): FramePort {
  const port = new FramePort(pods[0], "net1");
  closers.push(() => port.close());
  return port;
}

/** Frames that reach the pod, tags included, while `send` runs again and again. */
async function dumped(count: number, send: () => void): Promise<string> {
  const filter = ["ether", "dst", "ff:ff:ff:ff:ff:ff", "and", "not", "arp", "and", "not", "ip"];
  const command = [
    "tcpdump",
    "-i",
    "net1",
    "-Q",
    "in",
    "-c",
    String(count),
    "-n",
    "-xx",
    ...filter,
  ];
  const timer = setInterval(send, 100);
  try {
    const text = await run(inside(pods[0], "timeout", "60", ...command));
    return text.replaceAll(/^\s+0x[0-9a-f]+:|\s/gm, "");
  } finally {
    clearInterval(timer);
  }
}

describe("between two agents", () => {
  it.each<[string, Vlan, Vlan]>([
    ["with the same ID", { id: 100 }, { id: 100 }],
    ["with different IDs, translated at one end", { id: 100, peerId: 200 }, { id: 200 }],
    [
      "with different IDs, configured at both ends",
      { id: 100, peerId: 200 },
      { id: 200, peerId: 100 },
    ],
  ])("forwards untagged pods' frames in VLANs %s", async (_what, left, right) => {
    await startBoth(sessionOf(left), sessionOf(right));
    // IPv4, UDP and L2TP without sublayer, the Ethernet header and the tag.
    const mtu = 1500 - 20 - 8 - 8 - 14 - 4;
    expect((await link(pods[0], "net1"))?.mtu).toBe(mtu);
    const args = ["-M", "do"];
    expect(await ping(pods[0], "10.1.0.2", { count: 20, size: mtu - 28, args })).toBe(true);
    for (const index of [0, 1] as const) {
      expect(await countersOf(index)).toMatchObject({
        ...{ rxErrors: 0, rxUntagged: 0, rxOtherVlan: 0, rxInnerTagged: 0 },
        ...{ txErrors: 0, txUntagged: 0, txOtherVlan: 0, txInnerTagged: 0 },
      });
    }
  });

  it("keeps large frames unsegmented and unchanged", async () => {
    await startBoth(sessionOf({ id: 100, peerId: 200 }), sessionOf({ id: 200 }));
    const before = await countersOf(0);
    const from = { netns: pods[0], address: "10.1.0.1" };
    const to = { netns: pods[1], address: "10.1.0.2" };
    const devicesBefore = await packetsOf(pods[0], pods[1]);
    const { sent, received } = await streamTcp(from, to, 30_000_000);
    expect(received).toEqual(sent);
    const devices = await packetsOf(pods[0], pods[1]);
    const segments = ((await countersOf(0)).txPackets ?? 0) - (before.txPackets ?? 0);
    expect(segments).toBeGreaterThan(20_000);
    // The devices on both sides have seen frames of several segments.
    expect(devices.sent - devicesBefore.sent).toBeLessThan(segments / 3);
    expect(devices.received - devicesBefore.received).toBeLessThan(segments / 3);
    const datagrams = await streamUdp(from, to, 1_000_000);
    expect(datagrams.received).toEqual(datagrams.sent);
    expect(await countersOf(1)).toMatchObject({ rxErrors: 0, rxUntagged: 0, rxOtherVlan: 0 });
  });

  it("serves several pods by a bridge, with macSpoofing: Refuse", async () => {
    const attachment = { mode: "Bridge", macSpoofing: "Refuse" };
    await startBoth(sessionOf({ id: 100 }, { attachment }), sessionOf({ id: 100 }));
    const other = await net.addPod("other");
    await attach(0, other, "10.1.0.3/24");
    await until("frames cross", () => ping(other, "10.1.0.2"));
    expect(await ping(pods[0], "10.1.0.3")).toBe(true);
  });

  it("does not use the fast path, and reports why", async () => {
    const tunnel = { udpChecksum: false, fastPath: true };
    await startBoth(sessionOf({ id: 100 }), sessionOf({ id: 100 }), tunnel);
    expect((await agents[0].session("shop/lan"))?.fastPath).toBe(false);
    const { findings } = await agents[0].ask({ op: "doctor", seconds: 0 });
    expect(findings.map(({ remedy }) => remedy).join()).toContain("spec.fastPath");
  });

  it("changes the VLAN, and survives restarts of agent and datapath, with the pod attached", async () => {
    await startBoth(sessionOf({ id: 100 }), sessionOf({ id: 100 }));
    const index = (await link(pods[0], "net1"))?.ifindex;
    write(sessionOf({ id: 300 }), sessionOf({ id: 300, peerId: 300 }));
    await until("both ends have the new VLAN", async () =>
      (await run([L2TPCTL, "--socket", agents[0].socket, "-o", "wide", "sessions"])).includes(
        "EthernetVLAN 300",
      ),
    );
    await until("frames cross", () => ping(pods[0], "10.1.0.2"));
    process.kill(await agents[0].datapathPid(), "SIGKILL");
    await agents[0].kill();
    await agents[0].start();
    await until("frames cross again", () => ping(pods[0], "10.1.0.2"));
    expect((await link(pods[0], "net1"))?.ifindex).toBe(index);
  });
});

/** Frame counts of the pods' devices, which count a large frame once. */
async function packetsOf(from: string, to: string) {
  const read = async (netns: string) => {
    const json = await ip(netns, "-j", "-s", "link", "show", "net1");
    const [found] = JSON.parse(json) as [
      { stats64: { rx: { packets: number }; tx: { packets: number } } },
    ];
    return found.stats64;
  };
  return { sent: (await read(from)).tx.packets, received: (await read(to)).rx.packets };
}

describe("the tags on the wire", () => {
  async function startOne(vlan: Vlan, more: object = {}) {
    write(sessionOf(vlan, more));
    const peer = rawPeer();
    await agents[0].start();
    await attach(0);
    return { peer, port: podPort() };
  }

  it("are pushed and popped for an untagged pod, and frames of other VLANs are dropped and counted", async () => {
    const { peer, port } = await startOne({ id: 100, peerId: 200 });
    port.send(Buffer.from(taggedFrame("", 1), "hex"));
    port.send(Buffer.from(taggedFrame("8100e000", 2), "hex"));
    port.send(Buffer.from(taggedFrame("81000007", 3), "hex"));
    for (const [tags, mark] of [
      ["810000c8", 1],
      ["8100e0c8", 2],
      ["810000c881000007", 3],
    ] as const) {
      // The pushed tag makes the frame longer.
      await peer.hears(taggedFrame(tags, mark).padEnd(mark === 2 ? 128 : 136, "0"));
    }
    expect(await countersOf(0)).toMatchObject({ txInnerTagged: 1, txErrors: 0 });
    const ours = ["810000c8", "81000064"];
    const strange = ["8100012c", "88a800c8", "8100012c810000c8", "", "8100e000"];
    for (const tags of strange) peer.send(taggedFrame(tags, 9));
    const text = await dumped(2, () => {
      for (const tags of ours) peer.send(taggedFrame(tags, 5));
    });
    expect(text).toContain(taggedFrame("", 5).slice(0, 36));
    expect(text).not.toContain("88b50009");
    expect(await countersOf(0)).toMatchObject({ rxErrors: 5, rxOtherVlan: 3, rxUntagged: 2 });
    // The pod's own VLAN tag follows the session's.
    const inner = await dumped(1, () => peer.send(taggedFrame("810000c881000007", 6)));
    expect(inner).toContain(taggedFrame("81000007", 6).slice(0, 40));
    expect((await countersOf(0)).rxInnerTagged).toBeGreaterThan(0);
  });

  it("are translated for a tagged pod, whose other frames are dropped and counted", async () => {
    const { peer, port } = await startOne({ id: 100, peerId: 200, pod: "Tagged" });
    for (const tags of ["", "8100e000", "810000c8", "88a80064"]) {
      port.send(Buffer.from(taggedFrame(tags, 9), "hex"));
    }
    port.send(Buffer.from(taggedFrame("8100e064", 1), "hex"));
    await peer.hears(taggedFrame("8100e0c8", 1));
    expect(peer.heard().join()).not.toContain("88b50009");
    // The pod's stack sends untagged frames, too.
    const { txUntagged = 0, txErrors, txOtherVlan } = await countersOf(0);
    expect(txUntagged).toBeGreaterThanOrEqual(2);
    expect({ txErrors, txOtherVlan }).toEqual({ txErrors: txUntagged + 2, txOtherVlan: 2 });
    const text = await dumped(1, () => peer.send(taggedFrame("8100a0c8", 2)));
    expect(text).toContain(taggedFrame("8100a064", 2).slice(0, 40));
  });

  it("do not bypass macSpoofing: Refuse", async () => {
    const attachment = { macSpoofing: "Refuse" };
    const { peer, port } = await startOne({ id: 100, pod: "Tagged" }, { attachment });
    const own = ((await link(pods[0], "net1"))?.address ?? "").replaceAll(":", "");
    port.send(Buffer.from(taggedFrame("81000064", 9, "020000000099"), "hex"));
    port.send(Buffer.from(taggedFrame("81000064", 1, own), "hex"));
    await peer.hears(taggedFrame("81000064", 1, own));
    expect(peer.heard().join()).not.toContain("88b50009");
    expect((await countersOf(0)).txSpoofed).toBe(1);
  });

  it("are reported by the doctor if they differ from the session's", async () => {
    const { peer } = await startOne({ id: 100 });
    const timer = setInterval(() => {
      peer.send(taggedFrame("8100012c", 1));
      peer.send(taggedFrame("", 2));
    }, 20);
    try {
      const { findings } = await agents[0].ask({ op: "doctor", seconds: 1 });
      const all = findings.map(({ finding, remedy }) => `${finding}: ${remedy}`).join("\n");
      expect(all).toMatch(/a VLAN ID other than 100.*spec\.vlan\.peerId/);
      expect(all).toMatch(/without a VLAN tag/);
    } finally {
      clearInterval(timer);
    }
  });
});

describe("managed", () => {
  const control = { hello: { interval: "1s", deadAfter: "3s" } };
  const waits = { ...control, initiate: false, role: "LNS" };

  function writeManaged(left: object, right: object): void {
    const { a, b } = net;
    agents[0].write("all.yaml", [
      managedTunnel("t", a, b, control),
      managedSession("lan", "t", left),
    ]);
    agents[1].write("all.yaml", [
      managedTunnel("t", b, a, waits),
      managedSession("lan", "t", right),
    ]);
  }

  it("is negotiated as type 4, and rejected by a peer with another type", async () => {
    const sequencing = { send: true, receive: true, reorderTimeout: "20ms" };
    const vlan = { pseudowireType: "EthernetVLAN", vlan: { id: 100 }, sequencing };
    writeManaged(vlan, {});
    for (const agent of agents) await agent.start();
    const why = () => agents[0].condition("l2tpsession", "shop/lan", "Established")?.message;
    await until(
      () => `the peer rejects the session: ${why()}`,
      () => why()?.includes("unsupported pseudowire type"),
    );
    writeManaged(vlan, { ...vlan, vlan: { id: 7, peerId: 100 } });
    await attach(0);
    await attach(1);
    await until("frames cross", () => ping(pods[0], "10.1.0.2"));
    const text = await datagramOfPing(net.a.name, pods[0]);
    expect(text).toContain("81000064");
  });
});

it("rejects invalid sessions with a reason, and does not change the others", async () => {
  const vlan = { id: 100 };
  const bad: Record<string, [object, string]> = {
    zero: [{ pseudowireType: "EthernetVLAN", vlan: { id: 0 } }, "spec.vlan.id"],
    reserved: [{ pseudowireType: "EthernetVLAN", vlan: { id: 4095 } }, "spec.vlan.id"],
    peers: [{ pseudowireType: "EthernetVLAN", vlan: { id: 1, peerId: 5000 } }, "spec.vlan.peerId"],
    none: [{ pseudowireType: "EthernetVLAN" }, "spec.vlan: required"],
    plain: [{ vlan }, "spec.vlan"],
    half: [{ pseudowireType: "EthernetVLAN", vlan: { id: 1, pod: "Half" } }, "spec.vlan.pod"],
  };
  write(sessionOf(vlan), sessionOf(vlan));
  for (const [index, [name, [spec]]] of Object.entries(bad).entries()) {
    const ids = { sessionId: 200 + index, peerSessionId: 200 + index };
    agents[0].write(`${name}.yaml`, [sessionObject(name, "t", { ...ids, ...spec })]);
  }
  for (const agent of agents) await agent.start();
  await attach(0);
  await attach(1);
  await until("frames cross", () => ping(pods[0], "10.1.0.2"));
  for (const [name, [, where]] of Object.entries(bad)) {
    const accepted = agents[0].condition("l2tpsession", `shop/${name}`, "Accepted");
    expect(accepted?.status, name).toBe("False");
    expect(accepted?.message, name).toContain(where);
  }
});
