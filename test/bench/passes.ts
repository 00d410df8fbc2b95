/** Reads reconciles ("passes") from an agent's log at level debug. */
import type { TestAgent } from "../harness/agent.ts";
import { until } from "../harness/wait.ts";

export interface Pass {
  readonly actions?: number;
  readonly milliseconds?: number;
}

/** The longest time of one pass, on a slow machine. */
const SLOWEST_PASS_MS = 1_200_000;
/** The number of passes after which an agent must be idle. */
const MOST_PASSES = 200;

/** @param log may have lines of other programs, and an incomplete last line */
export function passes({ log }: Pick<TestAgent, "log">): Pass[] {
  const whole = log.slice(0, log.lastIndexOf("\n") + 1).split("\n");
  return whole.flatMap((line) => {
    if (!line.startsWith("{")) return [];
    try {
      return [JSON.parse(line) as Pass];
    } catch {
      return [];
    }
  });
}

/**
 * Waits for `count` passes without actions.
 * @returns the duration of each, in milliseconds
 * @throws Error if the agent exits, makes no pass, or never becomes idle
 */
export async function passesAtRest(agent: TestAgent, count: number): Promise<number[]> {
  for (;;) {
    const all = timedPasses(agent);
    const idle = all.filter(({ actions }) => actions === 0);
    if (idle.length >= count) return idle.map(({ milliseconds }) => milliseconds);
    if (agent.hasEnded) throw new Error(`the agent has exited: ${agent.log.slice(-1000)}`);
    if (all.length > MOST_PASSES) {
      const last = all.slice(-count).map(({ actions }) => actions);
      throw new Error(`no rest after ${all.length} passes; the last ones had ${last} actions`);
    }
    await until(
      `another pass after ${all.length}, ${idle.length} of them without actions`,
      () => agent.hasEnded || timedPasses(agent).length > all.length,
      SLOWEST_PASS_MS,
    );
  }
}

const timedPasses = (agent: TestAgent) =>
  passes(agent).flatMap(({ actions, milliseconds }) =>
    actions === undefined || milliseconds === undefined ? [] : { actions, milliseconds },
  );
