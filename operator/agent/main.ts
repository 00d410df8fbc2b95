/** l2tp-agent: programs a node's tunnels, sessions and pod interfaces from the objects. */
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { pino } from "pino";
import { apiNames } from "../../datapath/registry/datapaths.ts";
import { requireSafeSocket } from "../../files/socket-folder.ts";
import manifest from "../../package.json" with { type: "json" };
import { isServed } from "../../rpc/server.ts";
import { DEFERRED_REQUESTS } from "../agent-protocol.ts";
import { UninstallWatch } from "../install/uninstalled.ts";
import type { OpenCluster } from "../sources/cluster/open.ts";
import type { FolderSource } from "../sources/folder/source.ts";
import { Agent } from "./agent.ts";
import { readOptions } from "./options.ts";
import { serveAgent } from "./serve.ts";
import { lockStateFolder } from "./state-lock.ts";

// Each pass leaves garbage. By default, V8's old generation grows to several times the memory in use before a
// collection. On a node, memory is scarcer than the agent's processor time.
setFlagsFromString("--memory-saver-mode");

const options = readOptions();
const log = pino({ name: "l2tp-agent", level: options.logLevel }, pino.destination(2));

function refuse(message: string): never {
  process.stderr.write(`l2tp-agent: ${message}\n`);
  process.exit(2);
}

const { manifests, node = "" } = options;
if (!options.teardown && node === "") {
  const folder =
    manifests === undefined ? ", and --manifests <dir> unless the objects are in a cluster" : "";
  refuse(
    `missing --node <name>${folder}; for example\n` +
      "  l2tp-agent --manifests /etc/l2tp-cni --node edge-1\n(see l2tp-agent --help)",
  );
}
if (!options.teardown && manifests !== undefined) {
  const found = statSync(manifests, { throwIfNoEntry: false });
  if (found === undefined) refuse(`--manifests: ${manifests} does not exist; create the directory`);
  if (!found.isDirectory()) {
    refuse(
      `--manifests: ${manifests} is not a directory; use the directory that contains the file`,
    );
  }
}
if (options.datapath !== "kernel" && !options.datapathExternal && !existsSync("/dev/net/tun")) {
  refuse("/dev/net/tun is missing; load the module (modprobe tun), or mount it into the container");
}
if (process.geteuid?.() !== 0) {
  refuse("must run as root: network namespaces and TAP devices require it");
}
if (options.teardown && (await isServed(options.socket))) {
  refuse(`an agent serves ${options.socket}; stop it before --teardown`);
}
try {
  lockStateFolder(options.stateDir);
} catch (error) {
  refuse(error instanceof Error ? error.message : String(error));
}

const socketFolder = dirname(options.socket);
const cluster = manifests === undefined && !options.teardown ? await openClusterOrRefuse() : null;
const source = cluster?.source ?? (await folderSource(manifests ?? options.stateDir));
const agent = new Agent({
  version: manifest.version,
  nodeName: node,
  source,
  stateFolder: options.stateDir,
  deferred: [DEFERRED_REQUESTS, "tombstones"].map((name) => join(socketFolder, name)),
  datapath: [...apiNames].find((name) => name.toLowerCase() === options.datapath) ?? null,
  datapathSocket: options.datapathSocket ?? join(socketFolder, "datapath.sock"),
  startsDatapath: !options.datapathExternal,
  resyncMs: options.resync * 1000,
  log,
  failpoint(step) {
    if (step === options.exitAt) process.kill(process.pid, "SIGKILL");
  },
});

/** Loaded only without a cluster. */
async function folderSource(folder: string): Promise<FolderSource> {
  const { FolderSource } = await import("../sources/folder/source.ts");
  const { secrets, stateDir: stateFolder } = options;
  return new FolderSource({ manifests: folder, secrets, stateFolder });
}

/** Loaded only with a cluster. */
async function openClusterOrRefuse(): Promise<OpenCluster> {
  const { openCluster } = await import("../sources/cluster/open.ts");
  try {
    const cache = join(socketFolder, "cache.json");
    return await openCluster({ ...options, env: process.env, node, cache, log });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(`${reason}; set --manifests <dir> or --kubeconfig <file>`);
  }
}

if (options.teardown) await teardown();
else await run();

/** Requires that no agent runs: an agent would program everything again. */
async function teardown(): Promise<void> {
  const { actions, failures } = await agent.teardown();
  agent.stop();
  for (const [object, { message }] of failures) log.error({ object }, message);
  if (failures.size > 0) refuse(`failed to delete ${failures.size} objects; try again`);
  log.info({ changes: actions }, "teardown complete");
}

/** Only warns: in a container the parent folders are not the node's, so the plugin decides. */
function warnOfSocket(): void {
  try {
    requireSafeSocket(options.socket);
  } catch (error) {
    const { message } = error as Error;
    log.warn(`--socket ${options.socket}: ${message}; the CNI plugin refuses this socket`);
  }
}

async function run(): Promise<void> {
  // Before everything else, so that two agents never work on one node.
  const server = await serveAgent(agent, options.socket).catch((error: Error) =>
    refuse(`${error.message}; stop its owner, or set --socket and --state-dir for this agent`),
  );
  warnOfSocket();
  const { daemonset, marker } = options;
  const uninstalling =
    cluster === null || daemonset === undefined
      ? null
      : new UninstallWatch({ client: cluster.client, daemonSet: daemonset, marker });
  void uninstalling?.run(new AbortController().signal);
  const stop = async (signal: string) => {
    server.close();
    if (await uninstalling?.isUninstalled()) {
      const { actions, failures } = await agent.teardown();
      log.info(
        { changes: actions, failed: failures.size },
        "release uninstalled; teardown complete",
      );
    } else {
      log.info({ signal }, "stopping; the datapath keeps running");
    }
    agent.stop();
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void stop(signal));
  if (options.listen !== undefined) {
    const { serveAgentHealth } = await import("./health.ts");
    const { listen, metricsSessions } = options;
    await serveAgentHealth(agent, { listen, metricsSessions, registry: cluster?.registry }).catch(
      (error: Error) => refuse(`--listen: ${error.message}`),
    );
  }
  await agent.start();
}
