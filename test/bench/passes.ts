/** What an agent's log, at level debug, says of its passes. */
import type { TestAgent } from "../harness/agent.ts";
import { until } from "../harness/wait.ts";

export interface Pass {
  readonly actions?: number;
  readonly milliseconds?: number;
}

/** The longest that one pass may take: a machine that is slow is slow in each of them. */
const SLOWEST_PASS_MS = 1_200_000;
/** An agent that still has something to do after so many never comes to rest. */
const MOST_PASSES = 200;

/** Of a log to which other programs may write, and whose last line may be half there. */
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
 * Waits for so many passes with nothing to do, for as long as passes come.
 * @returns how long each of them took, in milliseconds
 * @throws Error when the agent has ended, makes no pass, or never comes to rest
 */
export async function passesAtRest(agent: TestAgent, count: number): Promise<number[]> {
  for (;;) {
    const all = timedPasses(agent);
    const idle = all.filter(({ actions }) => actions === 0);
    if (idle.length >= count) return idle.map(({ milliseconds }) => milliseconds);
    if (agent.hasEnded) throw new Error(`the agent has ended: ${agent.log.slice(-1000)}`);
    if (all.length > MOST_PASSES) {
      const last = all.slice(-count).map(({ actions }) => actions);
      throw new Error(`no rest after ${all.length} passes; the last ones had ${last} actions`);
    }
    await until(
      `another pass after ${all.length}, ${idle.length} of them with nothing to do`,
      () => agent.hasEnded || timedPasses(agent).length > all.length,
      SLOWEST_PASS_MS,
    );
  }
}

const timedPasses = (agent: TestAgent) =>
  passes(agent).flatMap(({ actions, milliseconds }) =>
    actions === undefined || milliseconds === undefined ? [] : { actions, milliseconds },
  );
