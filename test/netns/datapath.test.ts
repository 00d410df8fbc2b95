/** The datapath against itself, for the whole matrix of sessions. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { expectEverySize, experimentalFrame, FramePort } from "../harness/frames.ts";
import { inside, ip, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { type End, streamTcp, streamUdp, wrongChecksums } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

const FLOOD = fileURLToPath(new URL("../harness/flood.ts", import.meta.url));

let net: TestNet;
let agents: TestAgent[] = [];

afterEach(async () => {
  for (const agent of agents) await agent.destroy();
  agents = [];
  await net.remove();
});

/** Connects two pods by a session. */
async function join(
  mtu: number,
  tunnel: (family: "ipv4" | "ipv6") => Partial<TunnelSpec>,
  family: "ipv4" | "ipv6",
  session: Partial<SessionSpec>,
): Promise<[string, string]> {
  net = await TestNet.create({ mtu });
  const ends = [
    [net.a, net.b],
    [net.b, net.a],
  ] as const;
  const pods: string[] = [];
  for (const [index, [local, remote]] of ends.entries()) {
    const agent = new TestAgent(local);
    agents.push(agent);
    const shape = tunnel(family);
    const port = shape.encapsulation === "IP" ? {} : { port: 5000 };
    const addresses = {
      local: { address: local[family], ...port },
      remote: { address: remote[family], ...port },
    };
    agent.write("all.yaml", [
      tunnelObject("t", local, remote, { ...addresses, ...shape }),
      sessionObject("lan", "t", session),
    ]);
    await agent.start();
    const netns = await net.addPod(`pod${index}`);
    const config = {
      cniVersion: "1.0.0",
      name: "self",
      type: "l2tp",
      session: "shop/lan",
      socket: agent.socket,
      runtimeConfig: { ips: [`10.1.0.${index + 1}/24`, `fd00::${index + 1}/64`] },
    };
    const answer = await cni(local, { command: "ADD", netns, config });
    expect(answer.status, answer.stdout).toBe(0);
    pods.push(netns);
  }
  await until("frames cross", () => ping(pods[0] ?? "", "10.1.0.2"));
  return [pods[0] ?? "", pods[1] ?? ""];
}

/** The error counters of both ends. */
function errors() {
  return Promise.all(
    agents.map(async (agent) => {
      const { rxPackets, rxBytes, txPackets, txBytes, ...rest } =
        (await agent.session("shop/lan"))?.counters ?? {};
      return rest;
    }),
  );
}

const cookie = { value: "a1b2c3d4e5f60718" };
const all = { send: true, receive: true };
const shapes: [string, Partial<TunnelSpec>, Partial<SessionSpec>][] = [
  ["UDP, plain", {}, {}],
  ["UDP, no checksum", { udpChecksum: false }, { l2SpecificSublayer: "None" }],
  [
    "UDP, cookies and sequencing",
    {},
    { cookies: { receive: cookie, transmit: cookie }, sequencing: all },
  ],
  ["UDP, reordering", {}, { sequencing: { ...all, reorderTimeout: "50ms" } }],
  ["the fast path", { udpChecksum: false, fastPath: true }, {}],
  [
    "the fast path, with cookies and without sublayer",
    { udpChecksum: false, fastPath: true },
    { cookies: { receive: cookie, transmit: cookie }, l2SpecificSublayer: "None" },
  ],
  ["IP, plain", { encapsulation: "IP" }, {}],
  [
    "IP, cookies and sequencing",
    { encapsulation: "IP" },
    { cookies: { receive: cookie, transmit: cookie }, sequencing: all },
  ],
];

describe.each(["ipv4", "ipv6"] as const)("over %s", (family) => {
  it.each(shapes)("%s", async (_name, tunnel, session) => {
    const [one, two] = await join(1500, () => tunnel, family, session);
    const mtu = (await link(one, "net1"))?.mtu ?? 0;
    // The first pod sent frames before the second existed.
    const before = await errors();
    expect(await ping(one, "10.1.0.2", { size: mtu - 28, args: ["-M", "do"] })).toBe(true);
    expect(await ping(one, "fd00::2", { count: 3 })).toBe(true);
    const [from, to] = [new FramePort(one, "net1"), new FramePort(two, "net1")];
    await expectEverySize(from, to, mtu + 14);
    from.close();
    to.close();
    for (const addresses of [
      ["10.1.0.1", "10.1.0.2"],
      ["fd00::1", "fd00::2"],
    ] as const) {
      const [near, far] = [one, two].map((netns, index) => ({
        netns,
        address: addresses[index] ?? "",
      })) as [End, End];
      for (const { sent, received } of [
        await streamTcp(near, far, 20_000_000),
        await streamUdp(far, near, 1_000_000),
      ]) {
        expect(received).toEqual(sent);
      }
    }
    for (const netns of [one, two]) expect(await wrongChecksums(netns)).toBe(0);
    expect(await errors()).toEqual(before);
  });
});

it("carries jumbo frames, VLAN tags and multicast", async () => {
  const [one, two] = await join(9000, () => ({}), "ipv4", {});
  expect((await link(one, "net1"))?.mtu).toBe(8946);
  expect(await ping(one, "10.1.0.2", { size: 8946 - 28, args: ["-M", "do"] })).toBe(true);
  expect(await ping(one, "ff02::1%net1")).toBe(true);
  // A raw tagged ARP request, since the test kernel may lack 8021q.
  const frame = `ffffffffffff02000000000181000064080600010800060400010200000000010a0100010000000000000a010002${"00".repeat(18)}`;
  const [from, to] = [new FramePort(one, "net1"), new FramePort(two, "net1")];
  from.send(Buffer.from(frame, "hex"));
  // The kernel strips the tag from frames for packet sockets (packet(7), PACKET_AUXDATA).
  const untagged = `${frame.slice(0, 24)}${frame.slice(32)}`;
  await until("the tagged frame arrives", () => to.receive()?.toString("hex") === untagged);
  await expectEverySize(from, to, 8946 + 14);
  from.close();
  to.close();
});

it("sleeps while no frame arrives", async () => {
  const [one, two] = await join(1500, () => ({}), "ipv4", {});
  for (const pod of [one, two]) await ip(pod, "link", "set", "net1", "arp", "off");
  const pid = (await agents[0]?.datapathPid()) ?? 0;
  // Only the agent sends requests, rarely.
  await agents[0]?.kill();
  await agents[1]?.kill();
  const switches = () => {
    const status = readFileSync(`/proc/${pid}/task/${pid}/status`, "utf8");
    return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
  };
  // Frames in flight may still arrive. After them, a second must pass without any wake-up.
  let before = -1;
  const sleeps = async () => {
    before = switches();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return switches() === before;
  };
  await until("the process sleeps", sleeps);
});

it("forwards both directions of a session while another session is flooded", async () => {
  const [one] = await join(1500, () => ({}), "ipv4", {});
  const agent = agents[1] as TestAgent;
  const [port, floodPort] = [5001, 7000];
  agent.write("flood.yaml", [
    tunnelObject("flood", net.b, net.a, {
      ...{ tunnelId: 2, peerTunnelId: 2 },
      local: { address: net.b.ipv4, port },
      remote: { address: net.a.ipv4, port: floodPort },
    }),
    sessionObject("flood", "flood", { sessionId: 9, peerSessionId: 9 }),
  ]);
  await until("the flooded session is programmed", () => agent.session("shop/flood"));
  const pod = await net.addPod("flooded");
  const config = { cniVersion: "1.0.0", name: "self", type: "l2tp", session: "shop/flood" };
  const full = { ...config, socket: agent.socket };
  const call = { command: "ADD", netns: pod, config: full, containerId: "flooded" };
  const answer = await cni(net.b, call);
  expect(answer.status, answer.stdout).toBe(0);
  const received = async () => (await agent.session("shop/flood"))?.counters.rxPackets ?? 0;

  const payload = `000300000000000900000000${experimentalFrame(64).toString("hex")}`;
  const ends = [net.a.ipv4, floodPort, net.b.ipv4, port].map(String);
  const flood = new Background();
  flood.start(inside(net.a.name, process.execPath, FLOOD, ...ends, payload, "600"));
  try {
    await until("the flood arrives", async () => (await received()) > 10_000);
    const before = await received();
    // The flood lasts for a while.
    do expect(await ping(one, "10.1.0.2", { count: 100 })).toBe(true);
    while ((await received()) <= before + 10_000);
  } finally {
    await flood.stopAll();
  }
});
