/** Two of our datapaths beside two QEMU l2tpv3 hubs, on one wire. */
import { fileURLToPath } from "node:url";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, nameOf, ping, type TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { startQemu } from "../harness/qemu.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import type { Report } from "./report.ts";

const RUNS = 9;
const SECONDS = 2;
const FRAME_BYTES = 64;
const FLOOD = fileURLToPath(new URL("../harness/flood.ts", import.meta.url));
/** The flood's own port: those of the datapaths are in use. */
const FLOOD_PORT = 7000;
const QEMU_PORT = 6000;

/** Where traffic starts, and where to. */
interface Side {
  readonly from: string;
  readonly to: string;
  readonly address: string;
  readonly flooded: Flooded;
}

/** What hears the flood: a session without sublayer and cookie. */
interface Flooded {
  readonly namespace: string;
  readonly device: string;
  readonly port: number;
  readonly sessionId: number;
}

export async function benchTraffic(net: TestNet, report: Report): Promise<void> {
  const background = new Background();
  const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
  try {
    const sides = [await startOurs(net, agents), await startQemus(net, background)] as const;
    for (const { from, to, address } of sides) {
      background.start(inside(to, "iperf3", "-s"));
      await until("frames cross", () => ping(from, address));
      await until("iperf3 listens", () => run(inside(from, "iperf3", "-c", address, "-t", "1")));
    }
    report.add("TCP, one flow", "QEMU l2tpv3", await alternate(sides, tcp), { least: 1 }, "Gbit/s");
    const received = await alternate(sides, (side) => receive(net, side));
    const name = `${FRAME_BYTES}-byte frames received`;
    report.add(name, "QEMU l2tpv3", received, { least: 1 }, "frames/s");
    const trips = await alternate(sides, roundTrip);
    report.add("ping round trip", "QEMU l2tpv3", trips, { most: 1.2 }, "ms");
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
  }
}

async function startOurs(net: TestNet, agents: readonly [TestAgent, TestAgent]): Promise<Side> {
  const pods = [await net.addPod("pod0"), await net.addPod("pod1")] as const;
  const hosts = [net.a, net.b] as const;
  for (const [index, agent] of agents.entries()) {
    agent.write("all.yaml", [
      tunnelObject("t", agent.host, hosts[1 - index] as Host),
      sessionObject("lan", "t", { l2SpecificSublayer: "None", mtu: 1446 }),
    ]);
    await agent.start();
    await attach(agent, pods[index] ?? "", "shop/lan", [`10.1.0.${index + 1}/24`]);
  }
  return {
    from: pods[0],
    to: pods[1],
    address: "10.1.0.2",
    flooded: await hearFlood(net, agents[1]),
  };
}

/** A tunnel whose other end is the flood. */
async function hearFlood(net: TestNet, agent: TestAgent): Promise<Flooded> {
  const pod = await net.addPod("flooded");
  const [port, sessionId] = [5001, 8];
  agent.write("flood.yaml", [
    tunnelObject("flood", net.b, net.a, {
      ...{ tunnelId: 2, peerTunnelId: 2 },
      local: { address: net.b.ipv4, port },
      remote: { address: net.a.ipv4, port: FLOOD_PORT },
    }),
    sessionObject("flood", "flood", {
      ...{ sessionId, peerSessionId: sessionId },
      l2SpecificSublayer: "None",
    }),
  ]);
  await until("the flood's session is there", () => agent.session("shop/flood"));
  await attach(agent, pod, "shop/flood", []);
  return { namespace: pod, device: "net1", port, sessionId };
}

async function attach(agent: TestAgent, netns: string, session: string, ips: readonly string[]) {
  const rest = { socket: agent.socket, runtimeConfig: { ips } };
  const config = { cniVersion: "1.0.0", name: "bench", type: "l2tp", session, ...rest };
  const containerId = nameOf(netns);
  const { status, stdout } = await cni(agent.host, { command: "ADD", netns, config, containerId });
  if (status !== 0) throw new Error(stdout);
}

async function startQemus(net: TestNet, background: Background): Promise<Side> {
  const hosts = [net.a, net.b] as const;
  for (const [index, host] of hosts.entries()) {
    const other = hosts[1 - index] as Host;
    const ports = `srcport=${QEMU_PORT},dstport=${QEMU_PORT}`;
    const wire = `src=${host.ipv4},dst=${other.ipv4},udp=on,${ports},rxsession=7,txsession=7,counter=off`;
    await startQemu(background, host, "qtap", wire);
    await ip(host.name, "addr", "add", `10.7.0.${index + 1}/24`, "dev", "qtap");
    await ip(host.name, "link", "set", "qtap", "mtu", "1446", "up");
  }
  const flooded = { namespace: net.b.name, device: "qtap", port: QEMU_PORT, sessionId: 7 };
  return { from: net.a.name, to: net.b.name, address: "10.7.0.2", flooded };
}

/** Gbit/s. */
async function tcp({ from, address }: Side): Promise<number> {
  const json = await run(inside(from, "iperf3", "-c", address, "-t", String(SECONDS), "-J"));
  const { end } = JSON.parse(json) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e9;
}

/** Milliseconds, the average of one ping. */
async function roundTrip({ from, address }: Side): Promise<number> {
  const out = await run(inside(from, "ping", "-q", "-c", "500", "-i", "0.002", address));
  return Number(/= [\d.]+\/([\d.]+)\//.exec(out)?.[1]);
}

/** Frames per second that reach the device of the second host, while the first floods it. */
async function receive(net: TestNet, { flooded }: Side): Promise<number> {
  const { namespace, device, port, sessionId } = flooded;
  const header = `00030000${sessionId.toString(16).padStart(8, "0")}`;
  // Nobody's address, so that neither stack has work with it.
  const frame = `02000000000102000000000288b5${"00".repeat(FRAME_BYTES - 14)}`;
  const ends = [net.a.ipv4, String(FLOOD_PORT), net.b.ipv4, String(port)];
  const before = await receivedBy(namespace, device);
  const flood = [process.execPath, FLOOD, ...ends, header + frame, String(SECONDS)];
  await run(inside(net.a.name, ...flood));
  return ((await receivedBy(namespace, device)) - before) / SECONDS;
}

async function receivedBy(namespace: string, device: string): Promise<number> {
  const json = await ip(nameOf(namespace), "-j", "-s", "link", "show", device);
  const [link] = JSON.parse(json) as [{ stats64: { rx: { packets: number } } }];
  return link.stats64.rx.packets;
}

/** Alternating, so that the machine's moods meet both. */
async function alternate(
  sides: readonly [Side, Side],
  measure: (side: Side) => Promise<number>,
): Promise<[number[], number[]]> {
  const results: [number[], number[]] = [[], []];
  for (let i = 0; i < RUNS; i++) {
    // Neither is always the one that finds the machine rested.
    const order = i % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const);
    for (const side of order) results[side].push(await measure(sides[side]));
  }
  return results;
}
