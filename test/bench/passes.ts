/** What an agent's log, at level debug, says of its passes. */
import type { TestAgent } from "../harness/agent.ts";

export interface Pass {
  readonly actions?: number;
  readonly milliseconds?: number;
}

export function passes({ log }: TestAgent): Pass[] {
  const lines = log.split("\n").filter((line) => line.endsWith("}"));
  return lines.map((line) => JSON.parse(line) as Pass);
}

export function idlePasses(agent: TestAgent): Pass[] {
  return passes(agent).filter(({ actions }) => actions === 0);
}
