/**
 * `node test/soak/sessions.ts [MINUTES]`: creates, attaches, detaches and deletes sessions of a static and
 * of a managed tunnel, as fast as two nodes process them. The exit status is 1 if at the end an agent or a
 * datapath process has a tenth more memory than after ten minutes (half-way in a shorter run), or more
 * open files.
 */
import { readdirSync, readFileSync } from "node:fs";
import { median } from "../bench/report.ts";
import { TestAgent } from "../harness/agent.ts";
import { cleanUpWhenInterrupted } from "../harness/interrupted.ts";
import { TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

const MINUTE_MS = 60_000;
const [minutes = 120] = process.argv.slice(2).map(Number);
const settledMinutes = Math.min(10, minutes / 2);
/** The time over which figures are medians, since garbage collection makes memory vary. */
const windowMinutes = settledMinutes / 4;
const MOST_GROWTH = 1.1;

/** Sessions of the static tunnel in each cycle: half of the names are new, half repeat. */
const STATIC = 8;
const MANAGED = 2;
/** IDs repeat, too, after many cycles. */
const IDS = 60_000;

interface Sample {
  readonly minutes: number;
  readonly mebibytes: readonly number[];
  readonly files: readonly number[];
}

cleanUpWhenInterrupted();
const net = await TestNet.create();
const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;

async function soak(): Promise<boolean> {
  for (const [index, agent] of agents.entries()) {
    const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
    const control = index === 0 ? {} : { initiate: false, role: "LNS" };
    const port = { local: { address: local.ipv4, port: 1701 } };
    agent.write("tunnels.yaml", [
      tunnelObject("static", local, remote),
      managedTunnel("managed", local, remote, control, port),
    ]);
    await agent.start();
  }
  const datapaths = await Promise.all(agents.map((agent) => agent.datapathPid()));
  const pids = [...agents.map((agent) => agent.pid()), ...datapaths];
  const samples: Sample[] = [];
  const started = performance.now();
  const passed = () => (performance.now() - started) / MINUTE_MS;
  let told = 0;
  for (let cycle = 1; passed() < minutes; cycle++) {
    await takeTurn(cycle);
    const sample = { minutes: passed(), mebibytes: pids.map(memoryOf), files: pids.map(filesOf) };
    samples.push(sample);
    if (sample.minutes < told) continue;
    told += minutes / 60;
    console.log(`${sample.minutes.toFixed(1)} min, ${cycle} cycles: ${describe(sample)}`);
  }
  return judge(samples);
}

/** Private memory in mebibytes: file pages depend on other activity of the machine. */
function memoryOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kibibytes = [...status.matchAll(/^(?:RssAnon|VmSwap):\s+(\d+) kB$/gm)].map(([, size]) =>
    Number(size),
  );
  return kibibytes.reduce((sum, size) => sum + size, 0) / 1024;
}

const filesOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
const NAMES = ["agent a", "agent b", "datapath a", "datapath b"];

function describe({ mebibytes, files }: Pick<Sample, "mebibytes" | "files">): string {
  return NAMES.map(
    (name, index) => `${name} ${mebibytes[index]?.toFixed(1)} MiB, ${files[index]} files`,
  ).join("; ");
}

/** Creates and deletes sessions, with a pod at each end. */
async function takeTurn(cycle: number): Promise<void> {
  const names = Array.from({ length: STATIC }, (_, index) =>
    index % 2 === 0 ? `again-${index}` : `once-${cycle}-${index}`,
  );
  const statics = names.map((name, index) => {
    const id = 1000 + ((cycle * STATIC + index) % IDS);
    const mode = index < 2 ? { attachment: { mode: "Bridge" as const } } : {};
    return sessionObject(name, "static", { sessionId: id, peerSessionId: id, ...mode });
  });
  const managed = Array.from({ length: MANAGED }, (_, index) => `call-${cycle}-${index}`);
  const calls = managed.map((name) => managedSession(name, "managed"));
  const keys = [...names, ...managed].map((name) => `shop/${name}`);
  const pods = await Promise.all(["left", "right"].map((name) => net.addPod(`${name}${cycle}`)));
  for (const agent of agents) {
    for (const [index, object] of [...statics, ...calls].entries()) {
      agent.write(`${cycle}-${index}.yaml`, [object]);
    }
    // An invalid manifest is rejected and deleted, too.
    agent.write(`${cycle}-fault.yaml`, `kind: L2tpSession\nmetadata: {name: fault-${cycle}}\n`);
  }
  for (const [index, agent] of agents.entries()) {
    await until("the sessions are known", () => hasAll(agent, keys));
    await eachSession(keys, (session, number) => attach(agent, pods[index] ?? "", session, number));
  }
  for (const agent of agents) {
    await until("the sessions are established", () => isEstablished(agent, managed.length));
  }
  for (const [index, agent] of agents.entries()) {
    await eachSession(keys, (_, number) => detach(agent, pods[index] ?? "", number));
    for (const number of [...statics, ...calls].keys()) agent.remove(`${cycle}-${number}.yaml`);
    agent.remove(`${cycle}-fault.yaml`);
  }
  for (const agent of agents) {
    await until("the sessions are deleted", async () => (await sessionsOf(agent)).length === 0);
  }
  for (const pod of pods) await net.removePod(pod);
}

const sessionsOf = (agent: TestAgent) => agent.ask({ op: "sessions" });

async function hasAll(agent: TestAgent, keys: readonly string[]): Promise<boolean> {
  const known = new Set((await sessionsOf(agent)).flatMap(({ name, mtu }) => (mtu ? name : [])));
  return keys.every((key) => known.has(key));
}

async function isEstablished(agent: TestAgent, count: number): Promise<boolean> {
  const rows = await sessionsOf(agent);
  return rows.filter(({ control }) => control?.phase === "established").length === count;
}

async function eachSession(
  keys: readonly string[],
  work: (session: string, number: number) => Promise<unknown>,
): Promise<void> {
  for (const [number, session] of keys.entries()) await work(session, number);
}

const callOf = (netns: string, number: number) => ({
  containerId: netns.split("/").at(-1) ?? "",
  cniIfname: `l2tp${number}`,
});

function attach(agent: TestAgent, netns: string, session: string, number: number) {
  const call = callOf(netns, number);
  const whose = { ...call, ifname: call.cniIfname, netns, session, pod: null };
  const addresses = [`10.0.${number}.1/24`];
  const rest = { network: "soak", mac: null, addresses, routes: [], ipam: null };
  return agent.ask({ op: "attach", ...whose, ...rest });
}

const detach = (agent: TestAgent, netns: string, number: number) =>
  agent.ask({ op: "detach", ...callOf(netns, number), netns });

/** Compares the end with the figures after the processes have warmed up. */
function judge(samples: readonly Sample[]): boolean {
  const settled = summary(samples, settledMinutes);
  const end = summary(samples, samples.at(-1)?.minutes ?? 0);
  console.log(`After ${settledMinutes.toFixed(1)} minutes: ${describe(settled)}`);
  console.log(`At the end: ${describe(end)}`);
  const faults = NAMES.flatMap((name, index) => {
    const of = ({ mebibytes, files }: typeof end) => [mebibytes[index] ?? 0, files[index] ?? 0];
    const [[before = 0, filesBefore = 0], [after = 0, filesAfter = 0]] = [of(settled), of(end)];
    const percent = ((after / before - 1) * 100).toFixed(1);
    return [
      ...(after > before * MOST_GROWTH ? [`${name} has grown by ${percent} %`] : []),
      ...(filesAfter > filesBefore ? [`${name} has ${filesAfter - filesBefore} more files`] : []),
    ];
  });
  for (const fault of faults) console.log(`failed: ${fault}`);
  if (faults.length === 0) console.log("No process has grown by more than a tenth");
  return faults.length === 0;
}

/** Medians over the window before `until`. */
function summary(samples: readonly Sample[], until: number) {
  const window = samples.filter(({ minutes: at }) => at <= until && at > until - windowMinutes);
  const of = (read: (sample: Sample) => readonly number[]) =>
    NAMES.map((_, index) => median(window.map((sample) => read(sample)[index] ?? Number.NaN)));
  return { mebibytes: of(({ mebibytes }) => mebibytes), files: of(({ files }) => files) };
}

try {
  process.exitCode = (await soak()) ? 0 : 1;
} finally {
  for (const agent of agents) await agent.destroy();
  await net.remove();
}
