/**
 * `make bench`: our datapath beside QEMU's l2tpv3, and our CNI plugin beside the reference ones, in one
 * run, alternating. Ratios of medians; absolute numbers say little about another machine.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { table } from "../../cli/table.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni, cniEnvironment, PLUGIN, REFERENCE_PLUGINS } from "../harness/cni.ts";
import { type Host, inside, ip, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const RUNS = 5;
const SECONDS = 2;
const CNI_RUNS = 20;

interface Row {
  readonly work: string;
  readonly against: string;
  /** Ours over theirs, of medians. */
  readonly ratio: number;
  readonly must: string;
  readonly met: boolean;
}

const rows: Row[] = [];
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

function report(
  work: string,
  against: string,
  [ours, theirs]: readonly [readonly number[], readonly number[]],
  bound: { readonly least?: number; readonly most?: number },
): void {
  const ratio = median(ours) / median(theirs);
  const met = ratio >= (bound.least ?? 0) && ratio <= (bound.most ?? Number.POSITIVE_INFINITY);
  const must = bound.least === undefined ? `≤ ${bound.most}` : `≥ ${bound.least}`;
  rows.push({ work, against, ratio, must, met });
  console.log(`${work} against ${against}: ${ratio.toFixed(2)} × (${must})`);
}

/** Where traffic starts, and where to. */
interface Side {
  readonly from: string;
  readonly to: string;
  readonly address: string;
}

const net = await TestNet.create();
const background = new Background();
const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
const scratch = mkdtempSync(join(tmpdir(), "l2tp-bench-"));

async function startOurs(): Promise<Side> {
  const pods = [await net.addPod("pod0"), await net.addPod("pod1")] as const;
  const hosts = [net.a, net.b] as const;
  for (const [index, agent] of agents.entries()) {
    const other = hosts[1 - index] as Host;
    agent.write("all.yaml", [
      tunnelObject("t", agent.host, other),
      sessionObject("lan", "t", { l2SpecificSublayer: "None", mtu: 1446 }),
      sessionObject("cni", "t", { sessionId: 2, peerSessionId: 2 }),
    ]);
    await agent.start();
    const config = {
      cniVersion: "1.0.0",
      name: "bench",
      type: "l2tp",
      session: "shop/lan",
      socket: agent.socket,
      runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] },
    };
    await cni(agent.host, { command: "ADD", netns: pods[index] ?? "", config });
  }
  return { from: pods[0], to: pods[1], address: "10.1.0.2" };
}

async function startQemu(): Promise<Side> {
  for (const [index, [host, other]] of [
    [net.a, net.b] as const,
    [net.b, net.a] as const,
  ].entries()) {
    const wire = `l2tpv3,id=wire,src=${host.ipv4},dst=${other.ipv4},udp=on,srcport=6000,dstport=6000,rxsession=7,txsession=7,counter=off`;
    const tap = "tap,id=tap,ifname=qtap,script=no,downscript=no";
    const hubs = ["wire", "tap"].map((id) => `hubport,id=hub${id},hubid=0,netdev=${id}`);
    const netdevs = [wire, tap, ...hubs].flatMap((option) => ["-netdev", option]);
    const machine = ["qemu-system-x86_64", "-M", "none", "-display", "none"];
    background.start(inside(host.name, ...machine, ...netdevs));
    await until("QEMU has its device", () => ip(host.name, "link", "show", "qtap"));
    await ip(host.name, "addr", "add", `10.7.0.${index + 1}/24`, "dev", "qtap");
    await ip(host.name, "link", "set", "qtap", "mtu", "1446", "up");
  }
  return { from: net.a.name, to: net.b.name, address: "10.7.0.2" };
}

async function tcp({ from, address }: Side): Promise<number> {
  const json = await run(inside(from, "iperf3", "-c", address, "-t", String(SECONDS), "-J"));
  return (JSON.parse(json) as { end: { sum_received: { bits_per_second: number } } }).end
    .sum_received.bits_per_second;
}

async function roundTrip({ from, address }: Side): Promise<number> {
  const out = await run(inside(from, "ping", "-q", "-c", "500", "-i", "0.002", address));
  return Number(/= [\d.]+\/([\d.]+)\//.exec(out)?.[1]);
}

/** Alternating, so that the machine's moods meet both. */
async function alternate(
  sides: readonly [Side, Side],
  measure: (side: Side) => Promise<number>,
): Promise<[number[], number[]]> {
  const results: [number[], number[]] = [[], []];
  for (let i = 0; i < RUNS; i++) {
    results[0].push(await measure(sides[0]));
    results[1].push(await measure(sides[1]));
  }
  return results;
}

/** Milliseconds that a whole plugin process takes. */
function timeCni(program: string, command: string, config: object, netns: string, ifname: string) {
  const env = cniEnvironment({ command, config, netns, ifname });
  const started = process.hrtime.bigint();
  execFileSync("nsenter", [`--net=${net.a.netns}`, program], {
    input: JSON.stringify(config),
    env,
  });
  return Number(process.hrtime.bigint() - started) / 1e6;
}

async function benchCni(): Promise<void> {
  const netns = await net.addPod("cni");
  const ipam = (name: string) => ({
    type: "host-local",
    dataDir: join(scratch, name),
    ranges: [[{ subnet: "10.5.0.0/16" }]],
  });
  const base = { cniVersion: "1.0.0", socket: agents[0].socket };
  const ours = { ...base, name: "o", type: "l2tp", session: "shop/cni", ipam: ipam("o") };
  const theirs = { ...base, name: "b", type: "bridge", bridge: "brbench", ipam: ipam("b") };
  const prevResult = { cniVersion: "1.0.0", interfaces: [{ name: "lo", sandbox: netns }], ips: [] };
  const chained = { ...base, name: "c", type: "l2tp", prevResult };
  const tuning = { ...base, name: "t", type: "tuning", prevResult };
  const pair = (program: string, config: object) =>
    timeCni(program, "ADD", config, netns, "bench0") +
    timeCni(program, "DEL", config, netns, "bench0");
  const whole: [number[], number[]] = [[], []];
  const nothing: [number[], number[]] = [[], []];
  for (let i = 0; i < CNI_RUNS; i++) {
    whole[0].push(pair(PLUGIN, ours));
    whole[1].push(pair(`${REFERENCE_PLUGINS}/bridge`, theirs));
    nothing[0].push(timeCni(PLUGIN, "ADD", chained, netns, "lo"));
    nothing[1].push(timeCni(`${REFERENCE_PLUGINS}/tuning`, "ADD", tuning, netns, "lo"));
  }
  report("CNI ADD+DEL", "bridge + host-local", whole, { most: 1.0 });
  report("CNI chained ADD for nothing", "tuning", nothing, { most: 4 });
}

try {
  const sides = [await startOurs(), await startQemu()] as const;
  for (const { from, to, address } of sides) {
    background.start(inside(to, "iperf3", "-s"));
    await until("frames cross", () => ping(from, address));
    await until("iperf3 listens", () => run(inside(from, "iperf3", "-c", address, "-t", "1")));
  }
  report("TCP, one flow", "QEMU l2tpv3", await alternate(sides, tcp), { least: 1.0 });
  report("ping round trip", "QEMU l2tpv3", await alternate(sides, roundTrip), { most: 1.2 });
  await benchCni();
  mkdirSync("out", { recursive: true });
  writeFileSync("out/bench.json", `${JSON.stringify(rows, null, 2)}\n`);
  const cells = rows.map(({ work, against, ratio, must, met }) => {
    return [work, against, `${ratio.toFixed(2)} ×`, must, met ? "yes" : "no"];
  });
  console.log(
    `\n${table(["WORK", "AGAINST", "OURS", "MUST", "MET"], cells)}\n\nAlso in out/bench.json`,
  );
} finally {
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
  rmSync(scratch, { recursive: true, force: true });
}
