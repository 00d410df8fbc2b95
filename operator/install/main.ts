/** l2tp-install: keeps the CNI plugin installed on a node, until it is uninstalled. */
import { watch } from "chokidar";
import { Command } from "commander";
import { pino } from "pino";
import manifest from "../../package.json" with { type: "json" };
import { DEFAULT_SOCKET } from "../agent-protocol.ts";
import { JitteredBackoff } from "../kube/backoff.ts";
import { KubeClient } from "../kube/client.ts";
import { loadConfig } from "../kube/config.ts";
import { LogLimiter } from "../kube/log-limiter.ts";
import { chain, type InstallPaths, installPlugin, uninstall } from "./node.ts";
import { UninstallWatch } from "./uninstalled.ts";

interface Options extends InstallPaths {
  chain: boolean;
  daemonset?: string;
  marker: string;
  kubeconfig?: string;
  once: boolean;
  remove: boolean;
}

const AGAIN_MS = 30_000;
/** Another installer writes its file in several steps; one that takes us out again and again has the longer breath. */
const FIRST_SETTLE_MS = 200;
const MOST_SETTLE_MS = 300_000;
const CALM_MS = 600_000;

const program = new Command("l2tp-install")
  .description(
    "Keeps the CNI plugin on the node, chained in its network configuration, until it is uninstalled.",
  )
  .version(manifest.version)
  .option("--plugin <file>", "the plugin to install", "/usr/share/l2tp-cni/l2tp")
  .option("--binaries <dir>", "the node's folder of CNI plugins", "/host/opt/cni/bin")
  .option("--configs <dir>", "the node's folder of network configurations", "/host/etc/cni/net.d")
  .option("--socket <path>", "the agent's socket, as the node has it", DEFAULT_SOCKET)
  .option("--no-chain", "leave the network configuration alone: Multus, or by hand")
  .option("--daemonset <namespace/name>", "whose end means that the plugin is uninstalled")
  .option("--marker <name>", "the ConfigMap beside it that tells of the end", "l2tp-cni-release")
  .option("--kubeconfig <file>", "how to reach the API server (default: as a pod of the cluster)")
  .option("--once", "install, and exit", false)
  .option("--remove", "uninstall, and exit", false)
  .showHelpAfterError("(see l2tp-install --help)")
  .parse();

const options = program.opts<Options>();
const log = pino({ name: "l2tp-install" }, pino.destination(2));
const logLimiter = new LogLimiter();
let times = 0;
let chainedAt = 0;
const settle = new JitteredBackoff(FIRST_SETTLE_MS, MOST_SETTLE_MS);

if (options.remove) {
  remove();
} else {
  install();
  if (!options.once) await keep();
}

/** Again and again: other installers write the same files. */
function install(): void {
  try {
    if (installPlugin(options)) log.info({ folder: options.binaries }, "installed the plugin");
    if (!options.chain) return;
    const chained = chain(options);
    if (chained === null) {
      return say(`${options.configs} has no network configuration yet; it is waited for`);
    }
    const { file, edit } = chained;
    if (edit.do === "write") chainedAgain(file);
    if (edit.do === "leave") say(`${file} is left alone: ${edit.why}`);
  } catch (error) {
    say(`${(error as Error).message}; it is tried again`);
    if (options.once) process.exitCode = 1;
  }
}

function chainedAgain(file: string): void {
  if (performance.now() - chainedAt > CALM_MS) settle.reset();
  chainedAt = performance.now();
  times++;
  const hint =
    times > 3
      ? "; somebody takes it out again and again: does another CNI own the folder (Cilium: cni.exclusive=false)?"
      : "";
  log.info({ file }, `chained the plugin${hint}`);
}

function say(line: string): void {
  if (logLimiter.shouldLog("install", line)) log.warn(line);
}

function remove(): void {
  const { changed, stillIn } = uninstall(options);
  if (stillIn.length === 0) log.info({ changed }, "took the plugin off the node");
  else log.warn({ changed, stillIn }, "the plugin stays: these files still call it");
}

function refuse(error: Error): never {
  process.stderr.write(`l2tp-install: ${error.message}\n`);
  process.exit(2);
}

async function keep(): Promise<void> {
  const access = await loadConfig(options.kubeconfig, process.env).catch(refuse);
  const client = new KubeClient(access, `l2tp-install/${manifest.version}`);
  const { daemonset: daemonSet, marker } = options;
  const uninstalling =
    daemonSet === undefined ? null : new UninstallWatch({ client, daemonSet, marker });
  void uninstalling?.run(new AbortController().signal);
  let timer = setTimeout(again, AGAIN_MS);
  function again(): void {
    install();
    clearTimeout(timer);
    timer = setTimeout(again, AGAIN_MS);
  }
  watch(options.configs, { ignoreInitial: true, depth: 0 }).on("all", () => {
    clearTimeout(timer);
    timer = setTimeout(again, settle.next());
  });
  const stop = async () => {
    clearTimeout(timer);
    if (await uninstalling?.isUninstalled()) remove();
    else log.info("stopping; the plugin stays");
    process.exit(0);
  };
  process.on("SIGTERM", () => void stop());
  process.on("SIGINT", () => void stop());
}
