/** Pings from a pod's network namespace. They continue if the pod or its agent is deleted. */
import type { ChildProcess } from "node:child_process";
import type { Cluster } from "./cluster.ts";
import { PROGRAM } from "./cluster.ts";
import { pingReturns } from "./ping-returns.ts";
import { Background } from "./run.ts";

export interface PingCount {
  readonly sent: number;
  readonly received: number;
  /** Runs of consecutive lost pings. */
  readonly gaps: readonly Gap[];
}

export interface Gap {
  readonly lost: number;
  /** Time of the last reply before the gap, in milliseconds since 1970. */
  readonly since: number;
}

const INTERVAL = "0.02";

export class ClusterPing {
  readonly #background = new Background();
  readonly #cluster: Cluster;
  readonly #node: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = "";

  /** @param netns path of the pod's namespace on its node */
  constructor(cluster: Cluster, node: string, netns: string, address: string) {
    this.#cluster = cluster;
    this.#node = node;
    const ping = ["ping", "-D", "-i", INTERVAL, address];
    const command = [PROGRAM, "exec-node", node, "--", "nsenter", `--net=${netns}`, ...ping];
    this.#child = this.#background.start(command, (text) => {
      this.#output += text;
    });
    this.#ended = new Promise((resolve) => this.#child.once("exit", () => resolve()));
  }

  #gaps(): Gap[] {
    const gaps: Gap[] = [];
    let [last, since] = [0, 0];
    for (const { sequence, at } of pingReturns(this.#output)) {
      const lost = sequence - last - 1;
      if (lost > 0) gaps.push({ lost, since });
      [last, since] = [sequence, at];
    }
    return gaps;
  }

  /** Ends the pings, and counts the replies. */
  async stop(): Promise<PingCount> {
    await this.#cluster.onNode(this.#node, "pkill", "-INT", "-x", "ping");
    await this.#ended;
    const match = /(\d+) packets transmitted, (\d+) received/.exec(this.#output);
    if (match === null) throw new Error(`ping printed no summary: ${this.#output}`);
    return { sent: Number(match[1]), received: Number(match[2]), gaps: this.#gaps() };
  }
}
