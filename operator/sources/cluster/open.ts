/** The agent's side of a cluster: the connection, the source of objects, and what is measured of them. */
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
  /** Seconds. */
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
    log.warn(`an event is lost: ${(error as Error).message}`),
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
  log.info({ server: client.server }, "the objects are in the cluster");
  return { client, source, registry };
}
