/** Compares our switch with a Linux bridge between two of our sessions, and with a QEMU hub. */
import { fileURLToPath } from "node:url";
import { TestAgent } from "../../harness/agent.ts";
import { cni } from "../../harness/cni.ts";
import { type Host, inside, ip, nameOf, TestNet } from "../../harness/net.ts";
import { sessionObject, tunnelObject } from "../../harness/objects.ts";
import { Background, run } from "../../harness/run.ts";
import { middleOf, switchTo } from "../../harness/switch.ts";
import { until } from "../../harness/wait.ts";
import type { Report } from "../report.ts";
import { SECONDS, tcp } from "./measures.ts";
import { FLOOD_PORT, ready, type Side } from "./sides.ts";
import { alternate } from "./turns.ts";

const MTU = 1400;
const FRAME_BYTES = 64;
const FLOOD = fileURLToPath(new URL("../../harness/flood.ts", import.meta.url));

/** Ways to join the left pseudowire to the right one. */
const WAYS = { switch: 1, bridge: 2, hub: 3 } as const;
type Way = keyof typeof WAYS;

/** A way, with a second pair of sessions whose left peer is the flood. */
interface Joined extends Side {
  /** The local port of the session that receives the flood. */
  readonly floodPort: number;
  /** The pod on the right that receives the flood. */
  readonly hears: string;
}

export async function benchSwitch(report: Report): Promise<void> {
  const net = await TestNet.create();
  const background = new Background();
  const c = await net.addHost();
  const agents = [new TestAgent(net.b), new TestAgent(net.a), new TestAgent(c)] as const;
  try {
    for (const agent of agents) await agent.start();
    const bench = new SwitchBench(net, c, agents, background);
    const [ours, bridge, hub] = [
      await bench.join("switch"),
      await bench.join("bridge"),
      await bench.join("hub"),
    ];
    for (const side of [ours, bridge, hub]) await ready(side, background);
    for (const flows of [1, 8]) {
      const sides = [ours, bridge, hub];
      const [mine = [], bridged = [], hubs = []] = await alternate(sides, (side) =>
        tcp(side, flows),
      );
      const work = `TCP through a switch, ${flows} flow${flows > 1 ? "s" : ""}`;
      report.add(work, "Linux bridge", [mine, bridged], { least: 1.5 }, "Gbit/s");
      report.add(work, "QEMU hub", [mine, hubs], { least: 6 }, "Gbit/s");
    }
    const [mine = [], bridged = []] = await alternate([ours, bridge], (side) => bench.flood(side));
    const work = `${FRAME_BYTES}-byte frames through a switch`;
    report.add(work, "Linux bridge", [mine, bridged], { least: 2 }, "frames/s");
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
    await net.remove();
  }
}

class SwitchBench {
  readonly #net: TestNet;
  readonly #right: Host;
  readonly #agents: readonly [TestAgent, TestAgent, TestAgent];
  readonly #background: Background;

  constructor(
    net: TestNet,
    right: Host,
    agents: readonly [TestAgent, TestAgent, TestAgent],
    background: Background,
  ) {
    this.#net = net;
    this.#right = right;
    this.#agents = agents;
    this.#background = background;
  }

  async join(way: Way): Promise<Joined> {
    const id = WAYS[way];
    const [left, , right] = this.#agents;
    const from = await this.#addEnd(left, way, `${way}-l`, 2 * id, 1);
    const to = await this.#addEnd(right, way, `${way}-r`, 2 * id, 2);
    const hears = await this.#addEnd(right, way, `${way}-f`, 2 * id + 1, 3);
    await this.#joinAll(way, 2 * id, "l", "r");
    if (way !== "hub") await this.#joinAll(way, 2 * id + 1, "fl", "fr");
    const address = `10.${id}.0.2`;
    return { name: way, from, to, address, floodPort: portOf(2 * id + 1), hears };
  }

  /** Adds a pod on one host. @returns its namespace */
  async #addEnd(
    agent: TestAgent,
    way: Way,
    name: string,
    id: number,
    host: number,
  ): Promise<string> {
    const { left, right } = middleOf(this.#net);
    const isLeft = agent.host === this.#net.b;
    agent.write(`${name}.yaml`, this.#objects(name, agent.host, isLeft ? left : right, id, {}));
    const pod = await this.#net.addPod(name);
    await attach(agent, pod, name, "net1", [`10.${WAYS[way]}.0.${host}/24`]);
    return pod;
  }

  /** @param id the ID of the tunnel and session on both hosts */
  #objects(name: string, at: Host, remote: Host, id: number, change: object, port = portOf(id)) {
    return [
      tunnelObject(name, at, remote, {
        ...{ tunnelId: 10 * id + (name.endsWith("l") ? 0 : 1), peerTunnelId: 1 },
        local: { address: at.ipv4, port: portOf(id) },
        remote: { address: remote.ipv4, port },
      }),
      sessionObject(name, name, {
        ...{ sessionId: idOf(id, name), peerSessionId: idOf(id, name), mtu: MTU },
        l2SpecificSublayer: "None",
        ...change,
      }),
    ];
  }

  async #joinAll(way: Way, id: number, ...[one, other]: readonly [string, string]): Promise<void> {
    const [, agent] = this.#agents;
    const { left, right } = middleOf(this.#net);
    const names = [`${way}-${one}`, `${way}-${other}`] as const;
    if (way === "hub") return this.#startHub(id);
    const isSwitch = way === "switch";
    const floodPort = one === "fl" ? FLOOD_PORT : portOf(id);
    const ends = [
      ...this.#objects(
        names[0],
        left,
        this.#net.b,
        id,
        isSwitch ? switchTo(names[1]) : {},
        floodPort,
      ),
      ...this.#objects(names[1], right, this.#right, id, isSwitch ? switchTo(names[0]) : {}),
    ];
    agent.write(`${names[0]}.yaml`, ends);
    for (const name of names) {
      await until(`${name} is there`, () => agent.session(`shop/${name}`));
    }
    if (isSwitch) return;
    const pod = await this.#net.addPod(`${way}-${one}-m`);
    await attach(agent, pod, names[0], "net1", []);
    await attach(agent, pod, names[1], "net2", []);
    await ip(pod, "link", "add", "br0", "mtu", String(MTU), "type", "bridge");
    for (const device of ["net1", "net2"]) await ip(pod, "link", "set", device, "master", "br0");
    await ip(pod, "link", "set", "br0", "up");
  }

  /** Starts QEMU with two netdevs on one hub. */
  async #startHub(id: number): Promise<void> {
    const { left, right } = middleOf(this.#net);
    const port = `srcport=${portOf(id)},dstport=${portOf(id)}`;
    const netdevs = [
      [left, this.#net.b, idOf(id, "l")] as const,
      [right, this.#right, idOf(id, "r")] as const,
    ].flatMap(([at, remote, session], index) => [
      `l2tpv3,id=w${index},src=${at.ipv4},dst=${remote.ipv4},udp=on,${port},rxsession=${session},txsession=${session},counter=off`,
      `hubport,id=h${index},hubid=0,netdev=w${index}`,
    ]);
    const machine = ["qemu-system-x86_64", "-M", "none", "-display", "none"];
    const args = netdevs.flatMap((item) => ["-netdev", item]);
    this.#background.start(inside(this.#net.a.name, ...machine, ...args), () => {});
  }

  /** Returns the frames per second that reach the right while the left floods the middle. */
  async flood({ floodPort, hears }: Joined): Promise<number> {
    const { a, b } = this.#net;
    const session = idOf((floodPort - BASE_PORT) / 100, "l");
    const header = `00030000${session.toString(16).padStart(8, "0")}`;
    // An unknown MAC address, so that no stack processes the frames.
    const frame = `02000000000102000000000288b5${"00".repeat(FRAME_BYTES - 14)}`;
    const ends = [b.ipv4, String(FLOOD_PORT), a.ipv4, String(floodPort)];
    const before = await received(hears);
    const what = [header + frame, String(SECONDS), "1"];
    await run(inside(b.name, process.execPath, FLOOD, ...ends, ...what));
    return ((await received(hears)) - before) / SECONDS;
  }
}

const BASE_PORT = 5000;
const portOf = (id: number): number => BASE_PORT + 100 * id;
/** Returns a session's ID. @param name its last letter is the side: "l", or another letter */
const idOf = (id: number, name: string): number => 10 * id + (name.endsWith("l") ? 1 : 2);

async function received(namespace: string): Promise<number> {
  const json = await ip(nameOf(namespace), "-j", "-s", "link", "show", "net1");
  const [found] = JSON.parse(json) as [{ stats64: { rx: { packets: number } } }];
  return found.stats64.rx.packets;
}

async function attach(
  agent: TestAgent,
  netns: string,
  name: string,
  ifname: string,
  ips: readonly string[],
): Promise<void> {
  const session = `shop/${name}`;
  await until(`${session} is there`, () => agent.session(session));
  const rest = { socket: agent.socket, runtimeConfig: { ips } };
  const config = { cniVersion: "1.0.0", name: "bench", type: "l2tp", session, ...rest };
  const containerId = `${nameOf(netns)}-${ifname}`;
  const { status, stdout } = await cni(agent.host, {
    command: "ADD",
    netns,
    config,
    containerId,
    ifname,
  });
  if (status !== 0) throw new Error(stdout);
}
