/** l2tp-agent: makes a node's tunnels, sessions and pod interfaces what the objects say. */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { pino } from "pino";
import manifest from "../../package.json" with { type: "json" };
import { isServed } from "../../rpc/server.ts";
import { createRegistry, observeRequests, watchQueue, watchReflectors } from "../health/metrics.ts";
import { serveHealth } from "../health/server.ts";
import { KubeClient, loadConfig } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { Agent } from "./agent.ts";
import type { AttachStep } from "./attach.ts";
import { ClusterSource } from "./cluster/source.ts";
import { FolderSource } from "./folder/source.ts";
import { watchAgent } from "./metrics.ts";
import { DEFAULT_SOCKET, TOMBSTONES } from "./protocol.ts";
import { serveAgent } from "./serve.ts";
import type { ObjectSource } from "./source.ts";

interface Options {
  manifests?: string;
  node?: string;
  stateDir: string;
  socket: string;
  secrets?: string;
  datapath: "auto" | "kernel" | "userspace";
  datapathSocket?: string;
  datapathExternal: boolean;
  kubeconfig?: string;
  listen?: string;
  metricsSessions: number;
  resync: number;
  logLevel: string;
  teardown: boolean;
  exitAt?: AttachStep;
}

const DATAPATHS = { auto: null, kernel: "Kernel", userspace: "Userspace" } as const;

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0.1 && value <= 3600)) throw new InvalidArgumentError("0.1 to 3600 seconds.");
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("A whole number.");
  return value;
}

const program = new Command("l2tp-agent")
  .description(
    "Makes a node's L2TPv3 tunnels, sessions and pod interfaces what the objects say: those of a folder, or the cluster's.",
  )
  .version(manifest.version)
  .option(
    "--manifests <dir>",
    "the folder with L2tpTunnel and L2tpSession YAML; without it, the cluster has them",
  )
  .option("--kubeconfig <file>", "how to reach the API server (default: as a pod of the cluster)")
  .option("--node <name>", "this node's name, as in spec.nodeName of its tunnels")
  .option("--state-dir <dir>", "attachments and status", "/var/lib/l2tp-cni")
  .option("--socket <path>", "where CNI and l2tpctl find the agent", DEFAULT_SOCKET)
  .option("--secrets <dir>", "files NAMESPACE/NAME/KEY, mode 0600 (default: MANIFESTS/secrets)")
  .addOption(
    new Option(
      "--datapath <kind>",
      "who moves the frames of tunnels that leave it open; auto: the kernel where it can",
    )
      .choices(["auto", "kernel", "userspace"])
      .default("auto"),
  )
  .option("--datapath-socket <path>", "the datapath's control socket (default: beside --socket)")
  .option("--datapath-external", "never start the datapath: another container runs it", false)
  .option("--listen <address>", "where /metrics, /healthz and /readyz are, as in :9402")
  .option("--metrics-sessions <n>", "sessions with metrics of their own", count, 1000)
  .option("--resync <seconds>", "between two periodic passes", seconds, 5)
  .addOption(
    new Option("--log-level <level>", "least level to log")
      .choices(["trace", "debug", "info", "warn", "error"])
      .default("info"),
  )
  .option("--teardown", "take all of ours off the node, end the datapath process, and exit", false)
  .addOption(new Option("--exit-at <step>", "end at this step of an attachment").hideHelp())
  .addHelpText(
    "after",
    "\nExamples:\n  l2tp-agent --manifests /etc/l2tp-cni --node edge-1\n  l2tp-agent --kubeconfig admin.conf --node worker-1",
  )
  .showHelpAfterError("(see l2tp-agent --help)")
  .parse();

const options = program.opts<Options>();
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
if (options.datapath !== "kernel" && !existsSync("/dev/net/tun")) {
  refuse("no /dev/net/tun; load the module (modprobe tun), or give it to the container");
}
if (process.geteuid?.() !== 0) {
  refuse("it must run as root: network namespaces and TAP devices need it");
}
try {
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
} catch (error) {
  refuse(`--state-dir ${options.stateDir}: ${error instanceof Error ? error.message : error}`);
}

const socketFolder = dirname(options.socket);
const registry = createRegistry();
const source = options.teardown ? folderSource(options.stateDir) : openSource();
const agent = new Agent({
  version: manifest.version,
  nodeName: node,
  source,
  stateFolder: options.stateDir,
  tombstones: join(socketFolder, TOMBSTONES),
  datapath: DATAPATHS[options.datapath],
  datapathSocket: options.datapathSocket ?? join(socketFolder, "datapath.sock"),
  startsDatapath: !options.datapathExternal,
  resyncMs: options.resync * 1000,
  log,
  reached(step) {
    if (step === options.exitAt) process.kill(process.pid, "SIGKILL");
  },
});

function folderSource(folder: string): FolderSource {
  const { secrets, stateDir: stateFolder } = options;
  return new FolderSource({ manifests: folder, secrets, stateFolder });
}

function openSource(): ObjectSource {
  if (manifests !== undefined) return folderSource(manifests);
  try {
    const userAgent = `l2tp-agent/${manifest.version}`;
    const config = loadConfig(options.kubeconfig);
    const client = new KubeClient(config, userAgent, observeRequests(registry));
    const events = new EventRecorder(client, "l2tp-agent", node, (error) =>
      log.warn(`an event is lost: ${(error as Error).message}`),
    );
    const cache = join(socketFolder, "cache.json");
    const cluster = new ClusterSource({ client, events, nodeName: node, cache, log });
    watchReflectors(registry, cluster.reflectors);
    watchQueue(registry, "status", () => cluster.status.queue.depth);
    log.info({ server: client.server }, "the objects are in the cluster");
    return cluster;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(`${reason}; give --manifests <dir>, or --kubeconfig <file>`);
  }
}

if (options.teardown) await teardown();
else await run();

/** Only where no agent runs: it would put all of it back. */
async function teardown(): Promise<void> {
  if (await isServed(options.socket)) {
    refuse(`an agent runs on ${options.socket}; stop it first, then tear down`);
  }
  const { actions, failures } = await agent.teardown();
  agent.stop();
  for (const [object, { message }] of failures) log.error({ object }, message);
  if (failures.size > 0) refuse(`${failures.size} objects could not be taken off; try again`);
  log.info({ changes: actions }, "nothing of ours is on the node any more");
}

async function run(): Promise<void> {
  // First of all, so that two agents never work on one node.
  const server = await serveAgent(agent, options.socket).catch((error: Error) =>
    refuse(`${error.message}; stop that agent, or give this one --socket and --state-dir`),
  );
  const stop = (signal: string) => {
    log.info({ signal }, "stopping; the datapath goes on");
    server.close();
    agent.stop();
    process.exit(0);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  if (options.listen !== undefined) {
    watchAgent(registry, agent, options.metricsSessions);
    // The API server's absence makes no agent sick: what runs goes on without it.
    const unready = () => (agent.state === null ? "the objects have not been read yet" : null);
    const health = { address: options.listen, registry, sick: () => null, unready };
    await serveHealth(health).catch((error: Error) => refuse(`--listen: ${error.message}`));
  }
  await agent.start();
}
