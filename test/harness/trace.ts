/** l2tpctl trace on a host: what it prints. */
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TestAgent } from "./agent.ts";
import { inside } from "./net.ts";
import { type Background, stop } from "./run.ts";
import { until } from "./wait.ts";

export const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
const BEGINS = "a trace begins";

export class TestTrace {
  output = "";
  #child!: ChildProcess;

  /** Begins a trace, and waits until the agent shows what passes. @param args such as "branch", "--data" */
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

  /** Waits until it has printed this. */
  async prints(pattern: RegExp): Promise<void> {
    await until(
      () => `the trace prints ${pattern}:\n${this.output}`,
      () => pattern.test(this.output),
    );
  }

  /** Waits until the printed counters of the datapath add up to `expected`. */
  async counts(counter: string, expected: number): Promise<void> {
    const pattern = new RegExp(`datapath counters .*\\b${counter} (\\d+)`, "g");
    const counted = () =>
      Array.from(this.output.matchAll(pattern), ([, number]) => Number(number)).reduce(
        (sum, number) => sum + number,
        0,
      );
    await until(
      () => `it counts ${expected} ${counter}, not ${counted()}:\n${this.output}`,
      () => counted() === expected,
    );
  }

  /** Waits until it has ended by itself. @returns its exit status */
  async ended(): Promise<number | null> {
    await until(
      () => `the trace ends:\n${this.output}`,
      () => this.#child.exitCode !== null || this.#child.signalCode !== null,
    );
    return this.#child.exitCode;
  }

  /** As Ctrl-C does. @returns its exit status */
  async interrupt(): Promise<number | null> {
    await stop(this.#child, "SIGINT");
    return this.#child.exitCode;
  }
}
