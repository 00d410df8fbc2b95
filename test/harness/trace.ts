/** Runs l2tpctl trace on a host, and reads its output. */
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TestAgent } from "./agent.ts";
import { inside } from "./net.ts";
import { type Background, stop } from "./run.ts";
import { until } from "./wait.ts";

export const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
const BEGINS = "trace started";

export class TestTrace {
  output = "";
  #child!: ChildProcess;

  /** Starts a trace, and waits until the agent captures. @param args such as "branch", "--data" */
  static async start(
    agent: TestAgent,
    background: Background,
    ...args: string[]
  ): Promise<TestTrace> {
    const trace = new TestTrace();
    const command = inside(agent.host.name, L2TPCTL, "--socket", agent.socket, "trace", ...args);
    const before = agent.log.split(BEGINS).length;
    trace.#child = background.start(command, (text) => {
      trace.output += text;
    });
    await until(
      () => `the trace begins: ${trace.output}`,
      () => agent.log.split(BEGINS).length > before,
    );
    return trace;
  }

  /** Waits until the output matches. */
  async prints(pattern: RegExp): Promise<void> {
    await until(
      () => `the trace prints ${pattern}:\n${this.output}`,
      () => pattern.test(this.output),
    );
  }

  /** Waits until the printed counts of all seconds add up to the expected number. */
  async counts(counter: string, expected: number): Promise<void> {
    const pattern = new RegExp(`datapath counters .*\\b${counter} (\\d+)`, "g");
    const counted = () =>
      Array.from(this.output.matchAll(pattern), ([, number]) => Number(number)).reduce(
        (sum, number) => sum + number,
        0,
      );
    await until(
      () => `the trace counts ${expected} ${counter}, not ${counted()}:\n${this.output}`,
      () => counted() === expected,
    );
  }

  /** Waits until the trace exits by itself. @returns its exit status */
  async ended(): Promise<number | null> {
    await until(
      () => `the trace ends:\n${this.output}`,
      () => this.#child.exitCode !== null || this.#child.signalCode !== null,
    );
    return this.#child.exitCode;
  }

  /** Ends the trace, as Ctrl-C does. @returns its exit status */
  async interrupt(): Promise<number | null> {
    await stop(this.#child, "SIGINT");
    return this.#child.exitCode;
  }
}
