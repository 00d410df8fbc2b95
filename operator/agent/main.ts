/** l2tp-agent: makes a node's tunnels, sessions and pod interfaces what the objects say. */
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

// Each pass leaves garbage. By default V8 lets it grow to several times what is in use before it
// collects the old part of it. On a node, memory is scarcer than the agent's processor time.
setFlagsFromString("--memory-saver-mode");

const options = readOptions();
const log = pino({ name: "l2tp-agent", level: options.logLevel }, pino.destination(2));

function refuse(message: string): never {
  process.stderr.write(`l2tp-agent: ${message}\n`);
  process.exit(2);
}

const { manifests, node = "" } = options;
if (!options.teardown && node === "") {
  refuse(
    "--node <name> is needed, and --manifests <dir> unless the objects are in a cluster, as in\n" +
      "  l2tp-agent --manifests /etc/l2tp-cni --node edge-1\n(see l2tp-agent --help)",
  );
}
if (
  !options.teardown &&
  manifests !== undefined &&
  statSync(manifests, { throwIfNoEntry: false })?.isDirectory() !== true
) {
  refuse(`no folder ${manifests}; create it and put the manifests there (--manifests)`);
}
if (options.datapath !== "kernel" && !options.datapathExternal && !existsSync("/dev/net/tun")) {
  refuse("no /dev/net/tun; load the module (modprobe tun), or give it to the container");
}
if (process.geteuid?.() !== 0) {
  refuse("it must run as root: network namespaces and TAP devices need it");
}
if (options.teardown && (await isServed(options.socket))) {
  refuse(`an agent runs on ${options.socket}; stop it first, then tear down`);
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
  reached(step) {
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
    return refuse(`${reason}; give --manifests <dir>, or --kubeconfig <file>`);
  }
}

if (options.teardown) await teardown();
else await run();

/** Only where no agent runs: it would put all of it back. */
async function teardown(): Promise<void> {
  const { actions, failures } = await agent.teardown();
  agent.stop();
  for (const [object, { message }] of failures) log.error({ object }, message);
  if (failures.size > 0) refuse(`${failures.size} objects could not be taken off; try again`);
  log.info({ changes: actions }, "nothing of ours is on the node any more");
}

/** In a container the folders above are not the node's: the plugin has the last word. */
function warnOfSocket(): void {
  try {
    requireSafeSocket(options.socket);
  } catch (error) {
    const { message } = error as Error;
    log.warn(`--socket ${options.socket}: ${message}; the CNI plugin refuses it as it is`);
  }
}

async function run(): Promise<void> {
  // First of all, so that two agents never work on one node.
  const server = await serveAgent(agent, options.socket).catch((error: Error) =>
    refuse(`${error.message}; end what is there, or give this agent --socket and --state-dir`),
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
      log.info({ changes: actions, failed: failures.size }, "uninstalled from the node");
    } else {
      log.info({ signal }, "stopping; the datapath goes on");
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
