/** The agent's /metrics, /healthz and /readyz. */
import type { Registry } from "prom-client";
import { createRegistry } from "../health/metrics.ts";
import { type HealthServer, serveHealth } from "../health/server.ts";
import type { Agent } from "./agent.ts";
import { watchAgent } from "./metrics.ts";

export interface AgentHealthOptions {
  readonly listen: string;
  readonly metricsSessions: number;
  /** Where something is measured already. */
  readonly registry: Registry | undefined;
}

/** @throws Error where the address is none, or taken */
export function serveAgentHealth(
  agent: Agent,
  { listen, metricsSessions, registry = createRegistry() }: AgentHealthOptions,
): Promise<HealthServer> {
  const refresh = watchAgent(registry, agent, metricsSessions);
  // The API server's absence makes no agent sick: what runs goes on without it.
  const unready = () => (agent.state === null ? "objects not loaded" : null);
  return serveHealth({ address: listen, registry, refresh, sick: () => null, unready });
}
