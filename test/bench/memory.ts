/** The memory of agent, datapath and installer on a cluster without objects. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CA_CERT } from "../../operator/kube/testdata.ts";
import { inside, type TestNet } from "../harness/net.ts";
import { Background, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import { uniqueMebibytes } from "./processes.ts";
import type { Report } from "./report.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const API_SERVER = fileURLToPath(new URL("api-server.ts", import.meta.url));
const API_PORT = 6443;
const PAGES = "127.0.0.1:9402";
const TURNS = 3;
const REST_MS = 60_000;
/** The first start fills the cache of compiled modules for later starts. */
const FIRST_MS = 10_000;
const PROBE_MS = 5000;
/** Half of the ratio (6.0) when each process loaded Kubernetes' client library and a compiler. */
const MOST_IDLE = 2.9;
const MOST_BEFORE = 0.5;

/** Earlier versions have no script for the installer. */
const INSTALLER = "operator/install/main.ts";

/** @param before the root of another checkout to compare with */
export async function benchMemory(
  { a: host }: TestNet,
  report: Report,
  before?: string,
): Promise<void> {
  const server = new Background();
  server.start(inside(host.name, "node", API_SERVER, String(API_PORT)));
  const trees = before === undefined ? [ROOT] : [ROOT, before];
  try {
    for (const tree of trees) await measure(host.name, tree, FIRST_MS);
    const ours: number[] = [];
    const theirs: number[] = [];
    const idle: number[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      ours.push(await measure(host.name, ROOT, REST_MS));
      if (before !== undefined) theirs.push(await measure(host.name, before, REST_MS));
      idle.push(await measureIdle());
      console.log(
        `memory: ${[ours, theirs, idle].map((all) => all.at(-1)?.toFixed(1)).join(", ")}`,
      );
    }
    const work = "memory of a node without objects";
    const most = MOST_IDLE;
    report.add(work, "three idle processes of Node", [ours, idle], { most }, "MiB");
    if (before === undefined) return;
    report.add(work, "the tree before", [ours, theirs], { most: MOST_BEFORE }, "MiB");
  } finally {
    await server.stopAll();
  }
}

/** Starts the three programs of a tree as the chart does, and probes them as a kubelet does. */
async function measure(host: string, tree: string, restMs: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "memory-"));
  const processes = new Background();
  const logs: string[] = [];
  const start = (program: string, ...args: string[]) => {
    const script = join(tree, "bin", program);
    const command = existsSync(script) ? [script] : ["node", join(tree, INSTALLER)];
    const output = (text: string) => logs.push(text);
    return processes.start(inside(host, ...command, ...args), output).pid ?? 0;
  };
  try {
    for (const name of ["binaries", "configs", "run"]) mkdirSync(join(folder, name));
    const kubeconfig = writeKubeconfig(folder);
    const cluster = ["--kubeconfig", kubeconfig, "--daemonset", "l2tp-cni/agent"];
    const socket = join(folder, "run/agent.sock");
    const state = join(folder, "state");
    const own = ["--node", host, "--state-dir", state, "--socket", socket, "--listen", PAGES];
    const folders = ["--binaries", join(folder, "binaries"), "--configs", join(folder, "configs")];
    const plugin = ["--plugin", join(ROOT, "dist/l2tp")];
    const pids = [
      start("l2tp-datapath", "--socket", join(folder, "run/datapath.sock")),
      start("l2tp-install", ...folders, ...plugin, "--socket", socket, ...cluster),
      start("l2tp-agent", ...own, "--datapath-external", ...cluster),
    ];
    await until(
      () => `the agent of ${tree} is ready: ${logs.join("")}`,
      async () => (await page(host, "readyz")).includes("ok"),
    );
    const end = performance.now() + restMs;
    while (performance.now() < end) {
      for (const name of ["healthz", "readyz", "metrics"]) await page(host, name);
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
    }
    return uniqueMebibytes(pids);
  } finally {
    // Agent and installer write their compiled modules on SIGTERM.
    await processes.stopAll("SIGTERM");
    rmSync(folder, { recursive: true });
  }
}

function writeKubeconfig(folder: string): string {
  const path = join(folder, "kubeconfig");
  const cluster = {
    server: `https://127.0.0.1:${API_PORT}`,
    "certificate-authority-data": Buffer.from(CA_CERT).toString("base64"),
  };
  const config = {
    "current-context": "node",
    contexts: [{ name: "node", context: { cluster: "node", user: "node" } }],
    clusters: [{ name: "node", cluster }],
    users: [{ name: "node", user: { token: "secret" } }],
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

const page = async (host: string, name: string): Promise<string> =>
  (await tryRun(inside(host, "curl", "--silent", "--fail", `http://${PAGES}/${name}`))).stdout;

/** Measures idle Node processes. */
async function measureIdle(): Promise<number> {
  const processes = new Background();
  try {
    const children = Array.from({ length: 3 }, () =>
      processes.start(["node", "--eval", "console.log(1); setInterval(() => {}, 100_000)"]),
    );
    await Promise.all(
      children.map((child) => new Promise((resolve) => child.stdout?.once("data", resolve))),
    );
    return uniqueMebibytes(children.map(({ pid = 0 }) => pid));
  } finally {
    await processes.stopAll();
  }
}
