/** l2tp-controller: accepts the cluster's tunnels and sessions, and hands them to their nodes. */
import { hostname } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { pino } from "pino";
import { Gauge } from "prom-client";
import manifest from "../../package.json" with { type: "json" };
import type { DefaultNamespaces } from "../api/namespaces.ts";
import { createRegistry, observeRequests, watchQueue, watchReflectors } from "../health/metrics.ts";
import { serveHealth } from "../health/server.ts";
import { markUninstalled } from "../install/uninstalled.ts";
import { KubeClient } from "../kube/client.ts";
import { loadConfig } from "../kube/config.ts";
import { EventRecorder } from "../kube/events.ts";
import { LeaderElection } from "../kube/leader.ts";
import { LogLimiter } from "../kube/log-limiter.ts";
import { Controller } from "./controller.ts";
import { releaseAll } from "./release.ts";

interface Options {
  kubeconfig?: string;
  namespace: string;
  lease: string;
  identity: string;
  nodePatience: number;
  listen?: string;
  logLevel: string;
  release: boolean;
  marker?: string;
  cookies: boolean;
  defaultNamespaces: DefaultNamespaces;
}

const LEASE_DURATION_MS = 15_000;
const RELEASE_DURATION_MS = 600_000;
const RENEW_WITHIN_MS = 10_000;
const RETRY_MS = 2000;
/** A watch that has been silent for so long is not one. */
const MAX_SILENCE_MS = 900_000;

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 1 && value <= 86_400)) throw new InvalidArgumentError("1 to 86400 seconds.");
  return value;
}

const program = new Command("l2tp-controller")
  .description(
    "Accepts a cluster's L2tpTunnels and L2tpSessions or says why not, gives them ids, and hands them to their nodes.",
  )
  .version(manifest.version)
  .option("--kubeconfig <file>", "how to reach the API server (default: as a pod of the cluster)")
  .option("--namespace <name>", "of the lease", "l2tp-cni")
  .option("--lease <name>", "the Lease by which one of several leads", "l2tp-controller")
  .option("--identity <name>", "this one's name among them", hostname())
  .option(
    "--node-patience <seconds>",
    "how long a node that is not ready holds what is being deleted",
    seconds,
    300,
  )
  .option("--listen <address>", "where /metrics, /healthz and /readyz are, as in :9403")
  .addOption(
    new Option("--log-level <level>", "least level to log")
      .choices(["trace", "debug", "info", "warn", "error"])
      .default("info"),
  )
  .addOption(
    new Option(
      "--default-namespaces <which>",
      "whose sessions a tunnel without spec.allowedNamespaces takes",
    )
      .choices(["All", "None"])
      .default("All"),
  )
  .option("--no-cookies", "make no Secrets for cookies with generate: true")
  .option(
    "--marker <name>",
    "with --release: the ConfigMap of the namespace that tells the nodes of the end",
  )
  .option("--release", "before uninstalling: end the leader, let all objects go, and exit", false)
  .showHelpAfterError("(see l2tp-controller --help)")
  .parse();

const options = program.opts<Options>();
const log = pino({ name: "l2tp-controller", level: options.logLevel }, pino.destination(2));

function refuse(error: unknown): never {
  process.stderr.write(`l2tp-controller: ${error instanceof Error ? error.message : error}\n`);
  process.exit(2);
}

const logLimiter = new LogLimiter();
const registry = createRegistry();
const client = await connect();
const stopped = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    log.info({ signal }, "stopping");
    stopped.abort(new Error(signal));
  });
}

async function connect(): Promise<KubeClient> {
  try {
    const userAgent = `l2tp-controller/${manifest.version}`;
    const access = await loadConfig(options.kubeconfig, process.env);
    return new KubeClient(access, userAgent, observeRequests(registry));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    refuse(`${reason}; give --kubeconfig <file>`);
  }
}

const election = new LeaderElection({
  client,
  namespace: options.namespace,
  name: options.lease,
  identity: options.release ? `${options.identity}-release` : options.identity,
  // Nobody is to lead any more until the controllers are gone.
  durationMs: options.release ? RELEASE_DURATION_MS : LEASE_DURATION_MS,
  renewWithinMs: RENEW_WITHIN_MS,
  retryMs: RETRY_MS,
  failed: (error) => {
    const line = `lease: ${(error as Error).message}; it is tried again`;
    if (logLimiter.shouldLog("lease", line)) log.warn(line);
  },
});

await (options.release ? letGo() : lead());
process.exit(0);

/** A controller that has lost its lease ends, and comes back as one that waits. */
async function lead(): Promise<void> {
  const events = new EventRecorder(client, "l2tp-controller", options.identity, (error) =>
    log.warn(`an event is lost: ${(error as Error).message}`),
  );
  const nodePatienceMs = options.nodePatience * 1000;
  const { cookies: makesCookies, defaultNamespaces } = options;
  const wishes = { nodePatienceMs, makesCookies, defaultNamespaces };
  const controller = new Controller({ client, events, log, ...wishes });
  let isLeading = false;
  watchReflectors(registry, controller.reflectors);
  watchQueue(registry, "controller", () => controller.queue.depth);
  new Gauge({
    name: "l2tp_cni_leader",
    help: "Whether this controller leads.",
    registers: [registry],
    collect() {
      this.set(isLeading ? 1 : 0);
    },
  });
  const reflectors = Object.values(controller.reflectors);
  if (options.listen !== undefined) {
    await serveHealth({
      address: options.listen,
      registry,
      sick: () =>
        reflectors.some(({ silentMs }) => silentMs > MAX_SILENCE_MS)
          ? "the API server has long been silent"
          : null,
      unready: () => (reflectors.every(({ isSynced }) => isSynced) ? null : "not synced yet"),
    }).catch(refuse);
  }
  await controller.follow(stopped.signal);
  log.info({ server: client.server, identity: options.identity }, "waiting for the lease");
  try {
    await election.acquire(stopped.signal);
  } catch {
    return;
  }
  isLeading = true;
  log.info({ tunnels: controller.tunnels.size, sessions: controller.sessions.size }, "leading");
  const lost = new AbortController();
  const working = controller.lead(AbortSignal.any([lost.signal, stopped.signal]));
  await election.hold(stopped.signal);
  lost.abort(new Error("the lease is lost"));
  await working;
  if (stopped.signal.aborted) await election.release();
  else {
    log.error("the lease is lost; ending, to wait for it again");
    process.exit(1);
  }
}

async function letGo(): Promise<void> {
  const { marker, namespace } = options;
  if (marker !== undefined) await markUninstalled(client, namespace, marker);
  await election.take(stopped.signal);
  const count = await releaseAll(client, log);
  log.info({ objects: count }, "all objects may be deleted now");
}
