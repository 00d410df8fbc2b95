/** l2tp-controller: validates the cluster's tunnels and sessions, and assigns them to nodes. */
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
/** The controller is unhealthy if the API server has sent nothing for this time. */
const MAX_SILENCE_MS = 900_000;

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 1 && value <= 86_400)) throw new InvalidArgumentError("Use 1 to 86400 seconds.");
  return value;
}

const program = new Command("l2tp-controller")
  .description(
    "Validates a cluster's L2tpTunnel and L2tpSession objects, allocates IDs, and assigns the objects to nodes.",
  )
  .version(manifest.version)
  .option(
    "--kubeconfig <file>",
    "kubeconfig file (default: KUBECONFIG, ~/.kube/config, or the pod's service account)",
  )
  .option("--namespace <name>", "namespace of the Lease", "l2tp-cni")
  .option("--lease <name>", "Lease for the leader election", "l2tp-controller")
  .option("--identity <name>", "identity in the Lease", hostname())
  .option(
    "--node-patience <seconds>",
    "time after which finalizers are removed from deleted objects whose node is not ready",
    seconds,
    300,
  )
  .option("--listen <address>", "address of /metrics, /healthz and /readyz, as in :9403")
  .addOption(
    new Option("--log-level <level>", "minimum level of log lines")
      .choices(["trace", "debug", "info", "warn", "error"])
      .default("info"),
  )
  .addOption(
    new Option(
      "--default-namespaces <which>",
      "namespaces that may use a tunnel without spec.allowedNamespaces",
    )
      .choices(["All", "None"])
      .default("All"),
  )
  .option("--no-cookies", "do not create Secrets for cookies with generate: true")
  .option(
    "--marker <name>",
    "with --release: ConfigMap that marks the release as being uninstalled, for the nodes",
  )
  .option(
    "--release",
    "before uninstalling: take the Lease, remove the finalizers of all objects, and exit",
    false,
  )
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
    refuse(`${reason}; use --kubeconfig <file>`);
  }
}

const election = new LeaderElection({
  client,
  namespace: options.namespace,
  name: options.lease,
  identity: options.release ? `${options.identity}-release` : options.identity,
  // With --release no controller may lead before helm deletes the Deployment.
  durationMs: options.release ? RELEASE_DURATION_MS : LEASE_DURATION_MS,
  renewWithinMs: RENEW_WITHIN_MS,
  retryMs: RETRY_MS,
  failed: (error) => {
    const line = `lease: ${(error as Error).message}; retrying`;
    if (logLimiter.shouldLog("lease", line)) log.warn(line);
  },
});

await (options.release ? releaseObjects() : lead());
process.exit(0);

/** Waits for the lease, and leads. Exits with an error if the lease is lost; the restarted process waits again. */
async function lead(): Promise<void> {
  const events = new EventRecorder(client, "l2tp-controller", options.identity, (error) =>
    log.warn(`cannot send an Event: ${(error as Error).message}`),
  );
  const nodeNotReadyTimeoutMs = options.nodePatience * 1000;
  const { cookies: generatesCookies, defaultNamespaces } = options;
  const settings = { nodeNotReadyTimeoutMs, generatesCookies, defaultNamespaces };
  const controller = new Controller({ client, events, log, ...settings });
  let isLeading = false;
  watchReflectors(registry, controller.reflectors);
  watchQueue(registry, "controller", () => controller.queue.depth);
  new Gauge({
    name: "l2tp_cni_leader",
    help: "1 if this controller is the leader.",
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
          ? `no message from the API server for ${MAX_SILENCE_MS / 60_000} minutes`
          : null,
      unready: () => (reflectors.every(({ isSynced }) => isSynced) ? null : "objects not loaded"),
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
    log.error("lost leader election; exiting to rejoin");
    process.exit(1);
  }
}

async function releaseObjects(): Promise<void> {
  const { marker, namespace } = options;
  if (marker !== undefined) await markUninstalled(client, namespace, marker);
  await election.take(stopped.signal);
  const count = await releaseAll(client, log);
  log.info({ objects: count }, "finalizers removed");
}
