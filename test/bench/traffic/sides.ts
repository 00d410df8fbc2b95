/** The sides of a comparison: layer-2 tunnels between the same two hosts, each set up as its users do. */
import type { TestAgent } from "../../harness/agent.ts";
import { cni } from "../../harness/cni.ts";
import { inside, ip, nameOf, ping, type TestNet } from "../../harness/net.ts";
import { sessionObject, tunnelObject } from "../../harness/objects.ts";
import { startQemu } from "../../harness/qemu.ts";
import type { Background } from "../../harness/run.ts";
import { run } from "../../harness/run.ts";
import { until } from "../../harness/wait.ts";

/** The ends of the traffic. */
export interface Side {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly address: string;
  /** Process IDs of the forwarding programs, if any. */
  readonly processes?: readonly number[];
  /** The receiver of the flood of small frames, if any. */
  readonly flooded?: Flooded;
}

/** One or several sessions without sublayer and cookie. */
export interface Flooded {
  readonly namespace: string;
  /** The device's name; for several sessions, the prefix of the names. */
  readonly device: string;
  readonly port: number;
  /** The first session's ID; those of the others are consecutive. */
  readonly sessionId: number;
  readonly sessions?: number;
}

export interface Place {
  readonly net: TestNet;
  readonly background: Background;
  /** The MTU of all devices: the smallest MTU of the tunnels. */
  readonly mtu: number;
}

/** A port for the flood only: the datapaths use other ports. */
export const FLOOD_PORT = 7000;
const QEMU_PORT = 6000;

const pairs = ({ a, b }: Pick<TestNet, "a" | "b">) =>
  [
    [a, b],
    [b, a],
  ] as const;

type Encapsulation = "UDP" | "IP";

/** The variants of l2tp-cni. */
const OURS = {
  UDP: { id: 1, port: 5000, spec: {}, session: {} },
  IP: { id: 3, port: null, spec: { encapsulation: "IP" }, session: {} },
  "fast path": { id: 4, port: 5100, spec: { udpChecksum: false, fastPath: true }, session: {} },
  // Like UDP, with a VLAN tag.
  EthernetVLAN: {
    ...{ id: 5, port: 5200, spec: {} },
    session: { pseudowireType: "EthernetVLAN", vlan: { id: 100, peerId: 100 } },
  },
  "IP pseudowire": { id: 6, port: 5300, spec: {}, session: { pseudowireType: "IP" } },
} as const;

export async function startOurs(
  { net, mtu }: Place,
  agents: readonly [TestAgent, TestAgent],
  way: keyof typeof OURS,
): Promise<Side> {
  const pods: string[] = [];
  const { id, port, spec, session } = OURS[way];
  const name = way.toLowerCase().replace(" ", "-");
  const end = ({ ipv4 }: { readonly ipv4: string }) =>
    port === null ? { address: ipv4 } : { address: ipv4, port };
  for (const [index, [local, remote]] of pairs(net).entries()) {
    const agent = agents[index] as TestAgent;
    const ends = { local: end(local), remote: end(remote) };
    agent.write(`${name}.yaml`, [
      tunnelObject(name, local, remote, { tunnelId: id, peerTunnelId: id, ...ends, ...spec }),
      sessionObject(name, name, {
        ...{ sessionId: id, peerSessionId: id, mtu },
        l2SpecificSublayer: "None",
        ...session,
      }),
    ]);
    await until("the session is known", () => agent.session(`shop/${name}`));
    const pod = await net.addPod(`${name}${index}`);
    pods.push(pod);
    await attach(agent, pod, `shop/${name}`, [`10.${id}.0.${index + 1}/24`]);
  }
  const [from = "", to = ""] = pods;
  const side = { name: `ours, ${way}`, from, to, address: `10.${id}.0.2` };
  if (way !== "UDP") return side;
  const processes = await Promise.all(agents.map((agent) => agent.datapathPid()));
  return { ...side, processes, flooded: await hearFlood(net, agents[1], OURS.UDP.port + 1) };
}

/** Creates a tunnel whose peer is the flood. */
export async function hearFlood(net: TestNet, agent: TestAgent, port: number): Promise<Flooded> {
  const pod = await net.addPod(`flooded${port}`);
  const sessionId = 8;
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
  await until("the flood's session is known", () => agent.session("shop/flood"));
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

export async function startQemus(
  { net, background, mtu }: Place,
  encapsulation: Encapsulation,
): Promise<Side> {
  const device = `q${encapsulation.toLowerCase()}`;
  const subnet = encapsulation === "UDP" ? 7 : 8;
  const hosts = encapsulation === "UDP" ? net : await withOtherAddresses(net);
  const processes: number[] = [];
  for (const [local, remote] of pairs(hosts)) {
    const ports = `,srcport=${QEMU_PORT},dstport=${QEMU_PORT}`;
    const wire = `src=${local.ipv4},dst=${remote.ipv4},udp=${encapsulation === "UDP" ? `on${ports}` : "off"},rxsession=${subnet},txsession=${subnet},counter=off`;
    processes.push(await startQemu(background, local, device, wire));
  }
  const side = await address(net, device, subnet, mtu, `QEMU l2tpv3, ${encapsulation}`);
  if (encapsulation === "IP") return side;
  const flooded = { namespace: net.b.name, device, port: QEMU_PORT, sessionId: subnet };
  return { ...side, processes, flooded };
}

/** Each raw socket receives all packets of its address: QEMU and l2tp-cni must use different addresses. */
async function withOtherAddresses({ a, b }: TestNet): Promise<Pick<TestNet, "a" | "b">> {
  const others = [a, b].map((host, index) => ({ ...host, ipv4: `192.0.2.${index + 11}` }));
  for (const { name, device, ipv4 } of others) {
    await ip(name, "addr", "add", `${ipv4}/24`, "dev", device);
  }
  const [one, two] = others;
  if (one === undefined || two === undefined) throw new Error("no hosts");
  return { a: one, b: two };
}

/** The kernel's VXLAN, with all offloads. */
export async function startVxlan({ net, mtu }: Place): Promise<Side> {
  for (const [local, remote] of pairs(net)) {
    const ends = ["remote", remote.ipv4, "local", local.ipv4, "dstport", "4789"];
    await ip(local.name, "link", "add", "vx", "type", "vxlan", "id", "7", ...ends);
  }
  return address(net, "vx", 9, mtu, "kernel VXLAN");
}

/** fastd in its L2TP-like mode without a cipher. */
export async function startFastd({ net, background, mtu }: Place): Promise<Side> {
  const keys = [await fastdKey(), await fastdKey()] as const;
  for (const [index, [local, remote]] of pairs(net).entries()) {
    const [mine, theirs] = index === 0 ? keys : ([keys[1], keys[0]] as const);
    const config = [
      'interface "fd";',
      "mode tap;",
      `mtu ${mtu};`,
      'method "null@l2tp";',
      // With the kernel's L2TP, fastd would not forward in user space.
      "offload l2tp no;",
      `bind ${local.ipv4}:8100;`,
      `secret "${mine.secret}";`,
      `peer "other" { remote ${remote.ipv4}:8100; key "${theirs.public}"; }`,
    ].join(" ");
    // `exec`, so that the process that is stopped is fastd, not a shell.
    const command = ["sh", "-c", `exec fastd --config - <<'END'\n${config}\nEND`];
    background.start(inside(local.name, ...command));
    await until("fastd has its device", () => ip(local.name, "link", "show", "fd"));
  }
  return address(net, "fd", 10, mtu, "fastd null@l2tp");
}

async function fastdKey(): Promise<{ secret: string; public: string }> {
  const text = await run(["fastd", "--generate-key"]);
  const field = (name: string) => new RegExp(`${name}: ([0-9a-f]+)`).exec(text)?.[1] ?? "";
  return { secret: field("Secret"), public: field("Public") };
}

export async function startOpenVpn({ net, background, mtu }: Place): Promise<Side> {
  for (const [local, remote] of pairs(net)) {
    const ends = ["--local", local.ipv4, "--remote", remote.ipv4, "--port", "1195"];
    const device = ["--dev", "ov", "--dev-type", "tap", "--tun-mtu", String(mtu)];
    const plain = ["--cipher", "none", "--auth", "none", "--mssfix", "0"];
    background.start(inside(local.name, "openvpn", ...device, ...ends, ...plain));
    await until("OpenVPN has its device", () => ip(local.name, "link", "show", "ov"));
  }
  return address(net, "ov", 11, mtu, "OpenVPN, no cipher");
}

async function address(
  { a, b }: TestNet,
  device: string,
  subnet: number,
  mtu: number,
  name: string,
): Promise<Side> {
  for (const [index, host] of [a, b].entries()) {
    await ip(host.name, "addr", "add", `10.${subnet}.0.${index + 1}/24`, "dev", device);
    await ip(host.name, "link", "set", device, "mtu", String(mtu), "up");
  }
  return { name, from: a.name, to: b.name, address: `10.${subnet}.0.2` };
}

/** Starts iperf3, and waits until frames cross and iperf3 listens. */
export async function ready({ from, to, address: at }: Side, background: Background) {
  background.start(inside(to, "iperf3", "-s"));
  await until("frames cross", () => ping(from, at));
  await until("iperf3 listens", () => run(inside(from, "iperf3", "-c", at, "-n", "1")));
}
