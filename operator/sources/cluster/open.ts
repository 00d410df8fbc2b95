/** Opens the agent's connection to a cluster, with its source of objects and its metrics. */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import manifest from "../../../package.json" with { type: "json" };
import {
  createRegistry,
  observeProgramming,
  observeRequests,
  watchQueue,
  watchReflectors,
} from "../../health/metrics.ts";
import { KubeClient } from "../../kube/client.ts";
import { loadConfig } from "../../kube/config.ts";
import { EventRecorder } from "../../kube/events.ts";
import { ClusterSource } from "./source.ts";

export interface OpenOptions {
  readonly kubeconfig?: string;
  /** The process's environment, which may name a kubeconfig or a pod's API server. */
  readonly env: NodeJS.ProcessEnv;
  readonly node: string;
  readonly cache: string;
  /** Interval for re-reading Secrets, in seconds. */
  readonly secretsRefresh: number;
  readonly log: Logger;
}

export interface OpenCluster {
  readonly client: KubeClient;
  readonly source: ClusterSource;
  readonly registry: Registry;
}

/** @throws Error if no cluster is configured, or its kubeconfig is invalid */
export async function openCluster(options: OpenOptions): Promise<OpenCluster> {
  const { kubeconfig, env, node, cache, secretsRefresh, log } = options;
  const registry = createRegistry();
  const userAgent = `l2tp-agent/${manifest.version}`;
  const access = await loadConfig(kubeconfig, env);
  const client = new KubeClient(access, userAgent, observeRequests(registry));
  const events = new EventRecorder(client, "l2tp-agent", node, (error) =>
    log.warn(`cannot record an event: ${(error as Error).message}`),
  );
  const source = new ClusterSource({
    client,
    events,
    nodeName: node,
    cache,
    secretsMs: secretsRefresh * 1000,
    programmed: observeProgramming(registry),
    log,
  });
  watchReflectors(registry, source.reflectors);
  watchQueue(registry, "status", () => source.status.queue.depth);
  log.info({ server: client.server }, "reading objects from the API server");
  return { client, source, registry };
}
