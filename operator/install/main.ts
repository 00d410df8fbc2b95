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
/** Delay after a change of the folder, because other installers write a file in several steps. */
const FIRST_DELAY_MS = 200;
/** Maximum of the delay, which doubles while another process keeps removing the plugin. */
const MAX_DELAY_MS = 300_000;
/** The delay is reset when the plugin stayed in the list for this time. */
const CALM_MS = 600_000;

const program = new Command("l2tp-install")
  .description(
    "Installs the CNI plugin on the node, and keeps it chained in the network configuration until the uninstallation.",
  )
  .version(manifest.version)
  .option("--plugin <file>", "plugin executable to install", "/usr/share/l2tp-cni/l2tp")
  .option("--binaries <dir>", "the node's folder of CNI plugins", "/host/opt/cni/bin")
  .option("--configs <dir>", "the node's folder of network configurations", "/host/etc/cni/net.d")
  .option("--socket <path>", "path of the agent's socket on the node", DEFAULT_SOCKET)
  .option("--no-chain", "do not change the network configuration (for Multus, or your own list)")
  .option(
    "--daemonset <namespace/name>",
    "this installer's DaemonSet; if it is deleted at shutdown, uninstall the plugin",
  )
  .option(
    "--marker <name>",
    "ConfigMap that marks the release as being uninstalled",
    "l2tp-cni-release",
  )
  .option(
    "--kubeconfig <file>",
    "kubeconfig file (default: KUBECONFIG, ~/.kube/config, or the pod's service account)",
  )
  .option("--once", "install and exit", false)
  .option("--remove", "uninstall and exit", false)
  .showHelpAfterError("(see l2tp-install --help)")
  .parse();

const options = program.opts<Options>();
const log = pino({ name: "l2tp-install" }, pino.destination(2));
const logLimiter = new LogLimiter();
let times = 0;
let chainedAt = 0;
const delay = new JitteredBackoff(FIRST_DELAY_MS, MAX_DELAY_MS);

if (options.remove) {
  remove();
} else {
  install();
  if (!options.once) await keep();
}

/** Installs and chains the plugin. Called repeatedly, because other installers write the same files. */
function install(): void {
  try {
    if (installPlugin(options)) log.info({ folder: options.binaries }, "installed the plugin");
    if (!options.chain) return;
    const chained = chain(options);
    if (chained === null) {
      return warn(`${options.configs}: no network configuration yet; waiting`);
    }
    const { file, edit } = chained;
    if (edit.do === "write") chainedAgain(file);
    if (edit.do === "leave") warn(`${file}: not changed: ${edit.why}`);
  } catch (error) {
    warn(`${(error as Error).message}; retrying`);
    if (options.once) process.exitCode = 1;
  }
}

function chainedAgain(file: string): void {
  if (performance.now() - chainedAt > CALM_MS) delay.reset();
  chainedAt = performance.now();
  times++;
  const hint =
    times > 3
      ? "; another process keeps removing it: check whether another CNI owns the folder (Cilium: set cni.exclusive=false)"
      : "";
  log.info({ file }, `chained the plugin${hint}`);
}

function warn(line: string): void {
  if (logLimiter.shouldLog("install", line)) log.warn(line);
}

function remove(): void {
  const { changed, stillIn } = uninstall(options);
  if (stillIn.length === 0) log.info({ changed }, "removed the plugin");
  else log.warn({ changed, stillIn }, "plugin not removed: these files still use it");
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
    timer = setTimeout(again, delay.next());
  });
  const stop = async () => {
    clearTimeout(timer);
    if (await uninstalling?.isUninstalled()) remove();
    else log.info("stopping; the plugin stays installed");
    process.exit(0);
  };
  process.on("SIGTERM", () => void stop());
  process.on("SIGINT", () => void stop());
}
