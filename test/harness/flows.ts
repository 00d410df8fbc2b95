/** TCP flows between pods that continue while the network changes. */
import { fileURLToPath } from "node:url";
import { inside, nameOf } from "./net.ts";
import { Background } from "./run.ts";
import type { End } from "./streams.ts";
import { until } from "./wait.ts";

const FLOW = fileURLToPath(new URL("flow.ts", import.meta.url));
const FIRST_PORT = 7000;

export class Flow {
  readonly #what: string;
  readonly #background = new Background();
  #output = "";

  private constructor(what: string) {
    this.#what = what;
  }

  /** The first end connects to the second, and sends (upload) or receives (download). */
  static async start(kind: "upload" | "download", [one, two]: readonly [End, End]): Promise<Flow> {
    const flow = new Flow(kind);
    const [here, there] = kind === "upload" ? ["send", "receive"] : ["receive", "send"];
    const port = String(FIRST_PORT + (kind === "upload" ? 0 : 1));
    const start = (end: End, side: string, role: string) =>
      flow.#background.start(
        inside(nameOf(end.netns), process.execPath, FLOW, side, role, two.address, port),
        (text) => {
          flow.#output = (flow.#output + text).slice(-500);
        },
      );
    start(two, "listen", there ?? "");
    await until("the receiver listens", () => flow.#output.includes("listening"));
    start(one, "connect", here ?? "");
    return flow;
  }

  /** Bytes received so far. */
  get received(): number {
    const lines = [...this.#output.matchAll(/^(\d+)$/gm)];
    return Number(lines.at(-1)?.[1] ?? 0);
  }

  /** Waits until `bytes` more bytes are received. */
  async advances(bytes: number, when: string): Promise<void> {
    const from = this.received;
    await until(
      () => `the ${this.#what} advances ${when}: ${from}, then ${this.received}`,
      () => this.received >= from + bytes,
    );
  }

  end(): Promise<void> {
    return this.#background.stopAll();
  }
}
