/**
 * Many agents and sessions with a real API server and controller. The agents are simulated: they have the
 * real source of objects and status writer, without a node. Requires a running cluster of test/kube with
 * the chart installed:
 *
 *   node test/bench/cluster.ts AGENTS SESSIONS
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import pMap from "p-map";
import { pino } from "pino";
import { NODE_LABEL } from "../../operator/api/placement.ts";
import type { L2tpObject } from "../../operator/api/types.ts";
import { KubeClient } from "../../operator/kube/client.ts";
import { loadConfig } from "../../operator/kube/config.ts";
import { EventRecorder } from "../../operator/kube/events.ts";
import { type KubeObject, LEASES, NODES, objectPath } from "../../operator/kube/object.ts";
import { ClusterSource } from "../../operator/sources/cluster/source.ts";
import { Cluster, ROOT } from "../harness/cluster.ts";

const [agents = 100, sessions = 10_000] = process.argv.slice(2).map(Number);
const KUBECONFIG = "/var/lib/kube-cluster/admin.kubeconfig";
const access = await loadConfig(KUBECONFIG, process.env);
const CACHES = `${ROOT}out/bench-agents`;
const WRITES_AT_ONCE = 24;
const NODE = { apiVersion: NODES.apiVersion, kind: NODES.kind };
const START_MS = 20;
const HEARTBEAT_MS = 8000;
const log = pino({ level: "warn" }, pino.destination(2));
const cluster = await Cluster.open();
let agentRequests = 0;
let made = 0;
let programmed = 0;

/** An agent that only talks to the API server. */
class SimulatedAgent {
  readonly #source: ClusterSource;
  readonly #stop: () => void;
  #isPassing = false;
  #isAgain = false;
  readonly #said = new Set<string>();

  constructor(nodeName: string) {
    const client = new KubeClient(access, "simulated", () => {
      agentRequests++;
    });
    const events = new EventRecorder(client, "simulated", nodeName, () => {});
    const cache = `${CACHES}/${nodeName}.json`;
    const options = { client, events, nodeName, cache, secretsMs: 60_000, log };
    this.#source = new ClusterSource({ ...options, programmed: () => {} });
    this.#stop = this.#source.watch(() => this.#soon());
  }

  /** Number of statuses to write. */
  get depth(): number {
    return this.#source.status.queue.depth;
  }

  stop(): void {
    this.#stop();
  }

  #soon(): void {
    this.#isAgain = true;
    if (this.#isPassing) return;
    this.#isPassing = true;
    setTimeout(() => void this.#pass(), 50);
  }

  async #pass(): Promise<void> {
    this.#isAgain = false;
    const found = await this.#source.read();
    const objects = (found?.documents ?? []).map(({ content }) => content as L2tpObject);
    for (const { kind, metadata } of objects) {
      const id = `${kind} ${metadata.namespace}/${metadata.name}`;
      if (!this.#said.has(id)) programmed++;
      this.#said.add(id);
    }
    const verdict = {
      type: "Programmed",
      status: "True",
      reason: "Programmed",
      message: "Programmed by a simulated agent.",
    } as const;
    this.#source.status.write([
      ...objects.map(({ kind, metadata: { name, namespace, generation }, spec }) => ({
        kind,
        key: namespace === undefined ? name : `${namespace}/${name}`,
        spec,
        generation,
        status: { conditions: [verdict] },
      })),
      ...(found?.withdrawn ?? []).map(({ kind, key, generation, verdict: removed }) => ({
        kind,
        key,
        spec: null,
        generation,
        status: { conditions: [removed] },
      })),
    ]);
    this.#isPassing = false;
    if (this.#isAgain) this.#soon();
  }
}

/** Resident memory in MiB, and processor seconds so far, of the processes of that name. */
function usage(pattern: string): { MiB: number; seconds: number } {
  const pids = execFileSync("pgrep", ["-f", pattern], { encoding: "utf8" }).trim().split("\n");
  let [MiB, seconds] = [0, 0];
  for (const pid of pids) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      MiB = Math.max(MiB, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      seconds += (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      // The process has exited.
    }
  }
  return { MiB: Math.round(MiB), seconds };
}

const CONTROLLER = "^/usr/bin/node .*l2tp-controller";
const measure = () => ({
  at: performance.now(),
  controller: usage(CONTROLLER),
  apiserver: usage("kube-apiserver"),
  etcd: usage("etcd --name"),
  own: process.memoryUsage().rss / 2 ** 20,
});

function between(before: ReturnType<typeof measure>, after: ReturnType<typeof measure>) {
  const seconds = (after.at - before.at) / 1000;
  const share = (name: "controller" | "apiserver" | "etcd") =>
    Number(((after[name].seconds - before[name].seconds) / seconds).toFixed(2));
  return {
    seconds: Number(seconds.toFixed(1)),
    processors: {
      controller: share("controller"),
      apiserver: share("apiserver"),
      etcd: share("etcd"),
    },
    MiB: {
      controller: after.controller.MiB,
      apiserver: after.apiserver.MiB,
      etcd: after.etcd.MiB,
      simulation: Math.round(after.own),
    },
  };
}

const nodeName = (index: number): string => `sim-${index}`;
const namespaced = (index: number) => ({
  tunnel: { name: `sim-${index}` },
  session: { name: `sim-${index}`, namespace: "default" },
});

function objects(): object[] {
  const api = "l2tp.dev/v1alpha1";
  const tunnels = Array.from({ length: agents }, (_, index) => ({
    apiVersion: api,
    kind: "L2tpTunnel",
    metadata: namespaced(index).tunnel,
    spec: { nodeName: nodeName(index), remote: { address: "198.51.100.7" }, peerTunnelId: 1 },
  }));
  const inThem = Array.from({ length: sessions }, (_, index) => ({
    apiVersion: api,
    kind: "L2tpSession",
    metadata: namespaced(index).session,
    spec: { tunnelRef: { name: `sim-${index % agents}` }, peerSessionId: index + 1 },
  }));
  return [...tunnels, ...inThem];
}

const indices = Array.from({ length: agents }, (_, index) => index);

async function makeNodes(): Promise<void> {
  const ready = { type: "Ready", status: "True", reason: "Simulated" };
  const make = async (index: number) => {
    const name = nodeName(index);
    const metadata = { name, labels: { simulated: "true" } };
    await cluster.create({ ...NODE, metadata, spec: { unschedulable: true } });
    await cluster.client.request({
      method: "PATCH",
      path: `${objectPath(NODES, name)}/status`,
      body: { status: { conditions: [ready] } },
      contentType: "application/strategic-merge-patch+json",
    });
  };
  await pMap(indices, make, { concurrency: WRITES_AT_ONCE });
}

/** Renews the nodes' leases, as a kubelet does: the controller distrusts the status of nodes that are not ready. */
async function beat(): Promise<void> {
  const spec = { renewTime: new Date().toISOString().replace("Z", "000Z") };
  const renew = (index: number) => {
    const name = nodeName(index);
    const path = objectPath(LEASES, name, "kube-node-lease");
    const metadata = { name, namespace: "kube-node-lease", labels: { simulated: "true" } };
    const { apiVersion, kind } = LEASES;
    return cluster.client
      .apply(path, { apiVersion, kind, metadata, spec }, "simulated")
      .catch(() => {});
  };
  await pMap(indices, renew, { concurrency: WRITES_AT_ONCE });
}

function progress(what: string): void {
  const at = Math.round((performance.now() - start.at) / 1000);
  console.error(`${at} s: ${what}; ${made} created, ${programmed} programmed`);
}

async function until(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; !(await probe()); waited++) {
    if (waited % 40 === 0) progress(what);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

rmSync(CACHES, { recursive: true, force: true });
mkdirSync(CACHES, { recursive: true });
await makeNodes();
await beat();
const heart = setInterval(() => void beat(), HEARTBEAT_MS);
const crowd: SimulatedAgent[] = [];
const start = measure();
for (let index = 0; index < agents; index++) {
  crowd.push(new SimulatedAgent(nodeName(index)));
  // The agents of a cluster do not start simultaneously.
  await new Promise((resolve) => setTimeout(resolve, START_MS));
}
await until("all agents are connected", () => agentRequests >= agents * 4);
const begun = measure();

const idleFrom = agentRequests;
await new Promise((resolve) => setTimeout(resolve, 30_000));
const idle = measure();
const idleRequests = agentRequests - idleFrom;

const from = agentRequests;
const toMake = objects();
const make = async (object: object) => {
  await cluster.create(object);
  if (++made % 1000 === 0) progress("apply");
};
await pMap(toMake, make, { concurrency: WRITES_AT_ONCE });
const applied = measure();
const isQuiet = () => crowd.every(({ depth }) => depth === 0);
await until("all objects are programmed", () => programmed >= agents + sessions && isQuiet());
const done = measure();

const table = {
  agents,
  sessions,
  begin: between(start, begun),
  idle: { ...between(begun, idle), requestsPerAgentAndMinute: (idleRequests / agents) * 2 },
  apply: between(idle, applied),
  converge: {
    ...between(idle, done),
    objectsPerSecond: Math.round(((agents + sessions) / (done.at - idle.at)) * 1000),
    agentRequestsPerObject: Number(((agentRequests - from) / (agents + sessions)).toFixed(2)),
  },
};
console.log(JSON.stringify(table, null, 2));
writeFileSync(`${ROOT}out/cluster-scale.json`, `${JSON.stringify(table, null, 2)}\n`);

// One by one: the API server aborts the deletion of a whole collection after 30 seconds.
const inReverse = [...toMake].reverse() as KubeObject[];
await pMap(
  inReverse,
  ({ kind = "", metadata }) => cluster.delete(kind, metadata.name, metadata.namespace),
  { concurrency: WRITES_AT_ONCE },
);
await until("all objects are removed", async () => {
  const query = { labelSelector: NODE_LABEL, limit: "1" };
  const path = "/apis/l2tp.dev/v1alpha1/l2tpsessions";
  const { items } = await cluster.client.get<{ items: KubeObject[] }>(path, query);
  return items.length === 0;
});
clearInterval(heart);
for (const agent of crowd) agent.stop();
const simulated = ["--selector", "simulated=true", "--wait=false"];
await cluster.kubectl("delete", "nodes", ...simulated);
await cluster.kubectl("delete", "leases", "--namespace", "kube-node-lease", ...simulated);
process.exit(0);
