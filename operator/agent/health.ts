/** The agent's /metrics, /healthz and /readyz. */
import type { Registry } from "prom-client";
import { createRegistry } from "../health/metrics.ts";
import { type HealthServer, serveHealth } from "../health/server.ts";
import type { Agent } from "./agent.ts";
import { watchAgent } from "./metrics.ts";

export interface AgentHealthOptions {
  readonly listen: string;
  readonly metricsSessions: number;
  /** A registry that already has metrics; undefined: a new one. */
  readonly registry: Registry | undefined;
}

/** @throws Error if the address is invalid or in use */
export function serveAgentHealth(
  agent: Agent,
  { listen, metricsSessions, registry = createRegistry() }: AgentHealthOptions,
): Promise<HealthServer> {
  const refresh = watchAgent(registry, agent, metricsSessions);
  // The agent stays healthy without the API server: programmed sessions keep running.
  const unready = () => (agent.state === null ? "objects not loaded" : null);
  return serveHealth({ address: listen, registry, refresh, sick: () => null, unready });
}
