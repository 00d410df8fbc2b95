/** Time, memory and requests for many objects on a real cluster. */
import { mkdirSync, writeFileSync } from "node:fs";
import pMap from "p-map";
import { afterAll, expect, it } from "vitest";
import type { KubeObject } from "../../operator/kube/object.ts";
import {
  Cluster,
  type ClusterNode,
  isForeign,
  PATIENCE_MS,
  type Reported,
  ROOT,
} from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const TUNNELS = Number(process.env.SCALE_TUNNELS ?? 500);
const SESSIONS = Number(process.env.SCALE_SESSIONS ?? 2000);
const WRITES_AT_ONCE = 16;
const cluster = await Cluster.open();
const nodes = cluster.nodes as readonly [ClusterNode, ClusterNode];

afterAll(() => cluster.close());

function tunnel(index: number): object {
  const { name } = nodes[index % 2] as ClusterNode;
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpTunnel",
    metadata: { name: `scale-${index}` },
    // No peer answers: the test measures the handling of objects.
    spec: {
      nodeName: name,
      local: { port: 6000 },
      remote: { address: "198.51.100.7", port: 10_000 + index },
      peerTunnelId: index + 1,
    },
  };
}

function session(index: number, tunnels: number): object {
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpSession",
    metadata: { name: `scale-${index}`, namespace: "default" },
    spec: { tunnelRef: { name: `scale-${index % tunnels}` }, peerSessionId: index + 1 },
  };
}

type Figures = Readonly<Record<string, number>>;

async function scrape(address: string): Promise<Figures> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const figures: Record<string, number> = {};
  for (const [, name = "", value] of text.matchAll(/^(\w+)(?:{[^}]*})? ([\d.e+]+)$/gm)) {
    figures[name] = (figures[name] ?? 0) + Number(value);
  }
  return figures;
}

/** Returns the total requests of all our processes, and the largest memory of each kind. */
async function measure() {
  const list = await cluster.client.get<{ items: Reported[] }>("/api/v1/namespaces/l2tp-cni/pods", {
    labelSelector: "app.kubernetes.io/component=controller",
  });
  const controllers = list.items
    .filter(({ status }) => status?.phase === "Running")
    .map(({ status }) => `${status?.podIP}:9403`);
  const agents = nodes.map(({ address }) => `${address}:9402`);
  const all = await Promise.all([...controllers, ...agents].map(scrape));
  const memory = (some: readonly Figures[]) =>
    Math.max(...some.map((figures) => figures.process_resident_memory_bytes ?? 0)) / 2 ** 20;
  return {
    requests: all.reduce(
      (sum, { l2tp_cni_api_requests_total = 0 }) => sum + l2tp_cni_api_requests_total,
      0,
    ),
    controllerMiB: Math.round(memory(all.slice(0, controllers.length))),
    agentMiB: Math.round(memory(all.slice(controllers.length))),
  };
}

/** Only this file's objects: leftovers of another file are that file's failure. */
async function found(collection: string): Promise<Reported[]> {
  const path = `/apis/l2tp.dev/v1alpha1/${collection}`;
  const { items } = await cluster.client.get<{ items: Reported[] }>(path);
  return items.filter(({ metadata }) => metadata.name.startsWith("scale-"));
}

async function countProgrammed(collection: string): Promise<number> {
  const programmed = (await found(collection)).filter(({ status }) =>
    status?.conditions?.some(({ type, status }) => type === "Programmed" && status === "True"),
  );
  return programmed.length;
}

/** Applies the objects, waits until all are programmed, and deletes them. */
async function round(tunnels: number, sessions: number) {
  const before = await measure();
  const started = performance.now();
  const objects = [
    ...Array.from({ length: tunnels }, (_, index) => tunnel(index)),
    ...Array.from({ length: sessions }, (_, index) => session(index, tunnels)),
  ];
  await pMap(objects, (object) => cluster.create(object), { concurrency: WRITES_AT_ONCE });
  const applied = performance.now();
  await until(
    `${sessions} sessions are programmed`,
    async () => (await countProgrammed("l2tpsessions")) === sessions,
    PATIENCE_MS * 3,
  );
  expect(await countProgrammed("l2tptunnels")).toBe(tunnels);
  const programmed = performance.now();
  const after = await measure();
  const inReverse = [...objects].reverse() as KubeObject[];
  await pMap(
    inReverse,
    ({ kind = "", metadata }) => cluster.delete(kind, metadata.name, metadata.namespace),
    { concurrency: WRITES_AT_ONCE },
  );
  await until(
    "all are deleted",
    async () => {
      const left = await Promise.all(["l2tptunnels", "l2tpsessions"].map(found));
      return left.flat().length === 0;
    },
    PATIENCE_MS * 3,
  );
  const seconds = (from: number, to: number) => Number(((to - from) / 1000).toFixed(1));
  return {
    tunnels,
    sessions,
    appliedSeconds: seconds(started, applied),
    programmedSeconds: seconds(started, programmed),
    deletedSeconds: seconds(programmed, performance.now()),
    requestsPerObject: Number(
      ((after.requests - before.requests) / (tunnels + sessions)).toFixed(2),
    ),
    controllerMiB: after.controllerMiB,
    agentMiB: after.agentMiB,
  };
}

// In a foreign cluster, the test cannot reach the metrics of pods.
it.skipIf(isForeign)(
  "programs many tunnels and sessions, with few requests for each",
  async () => {
    const small = await round(TUNNELS / 10, SESSIONS / 10);
    const large = await round(TUNNELS, SESSIONS);
    const growth = large.programmedSeconds / small.programmedSeconds / 10;
    const table = { small, large, growth: Number(growth.toFixed(2)) };
    mkdirSync(`${ROOT}out`, { recursive: true });
    writeFileSync(`${ROOT}out/scale.json`, `${JSON.stringify(table, null, 2)}\n`);
    console.log(JSON.stringify(table, null, 2));
    for (const { requestsPerObject } of [small, large]) expect(requestsPerObject).toBeLessThan(6);
    // The time grows linearly with the number of objects, not quadratically.
    expect(growth).toBeLessThan(2);
    for (const { name } of nodes) {
      await until(`${name} is clean`, async () => {
        expect(await cluster.devices(name)).toEqual([]);
        expect(await cluster.ctl<object[]>(name, "sessions")).toEqual([]);
        return true;
      });
    }
  },
  PATIENCE_MS * 10,
);
