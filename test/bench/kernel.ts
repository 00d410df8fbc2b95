/** The kernel datapath, in the virtual machine: programming compared with ip -batch, and at scale. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { KernelNode, pair, putSession } from "../harness/kernel-node.ts";
import { type Host, inside, nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, run } from "../harness/run.ts";
import { ROOT, runInVm, setUpVm } from "../harness/vm.ts";
import { until } from "../harness/wait.ts";
import { passes, passesAtRest } from "./passes.ts";
import { median, type Report, type Row } from "./report.ts";

/** Linux 6.12 deletes a thousand sessions in seconds; 6.1 takes half a minute. */
const RELEASE = "trixie";
const RUNS = 5;
const BATCH = 1000;
const IDLE_PASSES = 5;
/** The two scales: sessions in one tunnel, and tunnels with one session. */
const SHAPES = [
  { name: "sessions in one tunnel", counts: [1250, 5000], perTunnel: 5000 },
  { name: "tunnels of one session", counts: [250, 1000], perTunnel: 1 },
] as const;
const FILE = `${ROOT}out/bench-kernel/bench.json`;
const SECONDS = 2;

export async function benchKernel(_net: TestNet, report: Report): Promise<void> {
  if (process.env.KERNEL_VM !== undefined) return benchInside(report);
  if (!setUpVm(RELEASE)) throw new Error("cannot set up the virtual machine");
  console.log("The kernel datapath, in an emulated virtual machine: this takes minutes");
  const command = ["node", "test/bench/main.ts", "kernel", "--out", "out/bench-kernel"];
  rmSync(FILE, { force: true });
  const { status } = await runInVm(RELEASE, command, (text) => process.stderr.write(text));
  // Keep the rows that were measured before the machine ended.
  const rows = existsSync(FILE) ? (JSON.parse(readFileSync(FILE, "utf8")) as Row[]) : [];
  report.take(rows);
  // Failed rows already explain the status.
  if (status === 0 || rows.some(({ ratio }) => ratio === null)) return;
  throw new Error(`the bench in the virtual machine ended with status ${status}`);
}

async function benchInside(report: Report): Promise<void> {
  await report.attempt("sessions programmed", () => programming(report));
  for (const shape of SHAPES) await report.attempt(shape.name, () => growth(report, shape));
  await report.attempt("traffic", () => traffic(report));
}

/** Measures the rate at which sessions in one tunnel are programmed. */
async function programming(report: Report): Promise<void> {
  const net = await TestNet.create({ aIsInitial: true });
  const node = new KernelNode();
  const [ours, theirs]: [number[], number[]] = [[], []];
  try {
    for (let round = 0; round < 2 * RUNS; round++) {
      const isOurs = ((round >> 1) + round) % 2 === 0;
      const seconds = isOurs ? await programOurs(net, node) : await programTheirs(net);
      (isOurs ? ours : theirs).push(BATCH / seconds);
      await forget(node);
    }
  } finally {
    node.close();
    await net.remove();
  }
  report.add("sessions programmed", "ip -batch", [ours, theirs], { least: 1 }, "a second");
}

async function programOurs(net: TestNet, node: KernelNode): Promise<number> {
  const variant = { encapsulation: "UDP", family: 4, cookieBytes: 8, sublayer: "Default" } as const;
  const { tunnel, session } = pair(net, variant);
  const puts = Array.from({ length: BATCH }, (_, index) => {
    const sessionId = 1000 + index;
    return putSession({ ...session, key: `shop/s${index}`, sessionId, peerSessionId: sessionId });
  });
  node.list();
  const started = performance.now();
  const errors = await node.apply({ op: "putTunnel", tunnel }, ...puts);
  const seconds = (performance.now() - started) / 1000;
  if (errors.some((code) => code !== null)) throw new Error(`not programmed: ${errors}`);
  return seconds;
}

async function programTheirs({ a, b }: TestNet): Promise<number> {
  const ends = `local ${a.ipv4} remote ${b.ipv4} udp_sport 5000 udp_dport 5001`;
  const lines = [`l2tp add tunnel tunnel_id 1 peer_tunnel_id 2 encap udp ${ends}`];
  for (let index = 0; index < BATCH; index++) {
    const id = 1000 + index;
    const ids = `tunnel_id 1 session_id ${id} peer_session_id ${id} name l2tp-${id}`;
    lines.push(`l2tp add session ${ids} cookie 1122334455667788 peer_cookie a1b2c3d4e5f60718`);
  }
  const started = performance.now();
  await run(["ip", "-batch", "-"], { input: `${lines.join("\n")}\n` });
  return (performance.now() - started) / 1000;
}

async function forget(node: KernelNode): Promise<void> {
  const { tunnels } = node.list();
  await node.apply(
    ...tunnels.map(({ tunnel }) => ({ op: "deleteTunnel", name: tunnel.name }) as const),
  );
}

interface Growth {
  readonly count: number;
  readonly convergeMs: number;
  readonly idleMs: number;
}

async function growth(
  report: Report,
  { name, counts, perTunnel }: (typeof SHAPES)[number],
): Promise<void> {
  const found: Growth[] = [];
  for (const count of counts) {
    const figures = await grown(count, perTunnel);
    found.push(figures);
    console.log(
      `${count} ${name}: ${figures.convergeMs} ms from nothing, ${figures.idleMs} ms with nothing to do`,
    );
  }
  const [small, large] = found;
  if (small === undefined || large === undefined) return;
  const times = large.count / small.count;
  for (const [work, figure] of [
    ["from nothing", "convergeMs"],
    ["no-op pass", "idleMs"],
  ] as const) {
    const ratio = large[figure] / small[figure] / times;
    const note = `${large[figure]} against ${small[figure]} ms, emulated`;
    const bound = { most: 1.2 };
    report.addRatio(
      `${large.count} ${name}, ${work}`,
      `${times} × ${small.count}`,
      ratio,
      bound,
      note,
    );
  }
}

/** Measures an agent from its start. */
async function grown(count: number, perTunnel: number): Promise<Growth> {
  const net = await TestNet.create({ aIsInitial: true });
  const agent = new TestAgent(net.a);
  try {
    writeManifests(agent, net, count, perTunnel);
    agent.launch("--log-level", "debug", "--datapath", "kernel");
    const idle = await passesAtRest(agent, IDLE_PASSES);
    const first = passes(agent).find(({ actions = 0 }) => actions >= count);
    const convergeMs = first?.milliseconds ?? Number.NaN;
    return { count, convergeMs, idleMs: median(idle) };
  } finally {
    await agent.kill();
    await agent.teardown();
    await agent.destroy();
    await net.remove();
  }
}

function writeManifests(
  agent: TestAgent,
  { a, b }: TestNet,
  count: number,
  perTunnel: number,
): void {
  for (let tunnel = 1; tunnel <= Math.ceil(count / perTunnel); tunnel++) {
    const ids = { tunnelId: tunnel, peerTunnelId: tunnel };
    const local = { address: a.ipv4, port: 10_000 + tunnel };
    const objects = [tunnelObject(`t${tunnel}`, a, b, { ...ids, local })];
    for (let index = 0; index < Math.min(perTunnel, count); index++) {
      const sessionId = tunnel * 10_000 + index;
      objects.push(
        sessionObject(`s${sessionId}`, `t${tunnel}`, { sessionId, peerSessionId: sessionId }),
      );
    }
    agent.write(`t${tunnel}.yaml`, objects);
  }
}

/** Compares the kernel and the userspace datapath by a pair of pods. Emulated, the figures only rank. */
async function traffic(report: Report): Promise<void> {
  const net = await TestNet.create({ aIsInitial: true });
  const background = new Background();
  const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
  try {
    const pods = [await net.addPod("pod0"), await net.addPod("pod1")] as const;
    for (const [index, agent] of agents.entries()) {
      const [here, there] = index === 0 ? [net.a, net.b] : [net.b, net.a];
      await attachBoth(agent, here, there, pods[index] ?? "", index + 1);
    }
    background.start(inside(nameOf(pods[1]), "iperf3", "-s"));
    const figures = {
      tcp: [[], []] as [number[], number[]],
      ping: [[], []] as [number[], number[]],
    };
    const addresses = ["10.1.0.2", "10.2.0.2"];
    for (const address of addresses) {
      await until("frames cross", () => ping(pods[0], address));
      await until("iperf3 listens", () => throughput(pods[0], address));
    }
    for (let round = 0; round < RUNS; round++) {
      for (const [side, address] of addresses.entries()) {
        figures.tcp[side]?.push(await throughput(pods[0], address));
        figures.ping[side]?.push(await roundTrip(pods[0], address));
      }
    }
    report.add(
      "TCP, one flow, in the kernel",
      "our userspace, emulated",
      figures.tcp,
      {},
      "Gbit/s",
    );
    report.add("ping round trip, in the kernel", "our userspace, emulated", figures.ping, {}, "ms");
  } finally {
    await background.stopAll();
    for (const agent of agents) {
      await agent.kill();
      await agent.teardown();
      await agent.destroy();
    }
    await net.remove();
  }
}

async function attachBoth(
  agent: TestAgent,
  here: Host,
  there: Host,
  netns: string,
  number: number,
): Promise<void> {
  for (const [index, datapath] of (["Kernel", "Userspace"] as const).entries()) {
    const id = index + 1;
    const port = 5000 + index;
    const ends = { local: { address: here.ipv4, port }, remote: { address: there.ipv4, port } };
    agent.write(`${id}.yaml`, [
      tunnelObject(`t${id}`, here, there, { tunnelId: id, peerTunnelId: id, datapath, ...ends }),
      sessionObject(`s${id}`, `t${id}`, { sessionId: 100 + id, peerSessionId: 100 + id }),
    ]);
  }
  await agent.start();
  for (const id of [1, 2]) {
    const config = {
      ...{ cniVersion: "1.0.0", name: "bench", type: "l2tp", session: `shop/s${id}` },
      ...{ socket: agent.socket, runtimeConfig: { ips: [`10.${id}.0.${number}/24`] } },
    };
    const answer = await cni(here, { command: "ADD", netns, ifname: `net${id}`, config });
    if (answer.status !== 0) throw new Error(answer.stdout);
  }
}

/** Throughput in Gbit/s. */
async function throughput(pod: string, address: string): Promise<number> {
  const output = await run(
    inside(nameOf(pod), "iperf3", "-J", "-c", address, "-t", String(SECONDS)),
  );
  const { end } = JSON.parse(output) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e9;
}

/** Median round trip in milliseconds. */
async function roundTrip(pod: string, address: string): Promise<number> {
  const output = await run(inside(nameOf(pod), "ping", "-q", "-c", "100", "-i", "0.005", address));
  return Number(/= [\d.]+\/([\d.]+)\//.exec(output)?.[1]);
}
