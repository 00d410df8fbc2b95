/** What another project's dissector (tshark) makes of the packets of a wire. */
import { statSync } from "node:fs";
import { type Host, inside } from "./net.ts";
import { Background, run } from "./run.ts";
import { until } from "./wait.ts";

export interface Dissected {
  /** The names of the protocols in the packet, such as "eth:ethertype:ip:udp:l2tp:ip:icmp:data". */
  readonly protocols: string;
  /** What tshark finds odd about it; empty: nothing. */
  readonly notes: string;
}

/** Packets of a host's wire, from `start` on. */
export class Capture {
  readonly #file: string;
  readonly #background = new Background();

  /** @param file to write to */
  constructor(file: string) {
    this.#file = file;
  }

  async start({ name, device }: Host): Promise<void> {
    let said = "";
    const options = ["-i", device, "-n", "-U", "--immediate-mode", "-w", this.#file];
    this.#background.start(inside(name, "tcpdump", ...options), (text) => {
      said += text;
    });
    await until(
      () => `tcpdump listens: ${said}`,
      () => said.includes("listening"),
    );
  }

  /** Ends it. @returns the packets that have L2TP */
  async dissect(): Promise<Dissected[]> {
    await until("there is something", () => statSync(this.#file).size > 24);
    await this.#background.stopAll("SIGINT");
    const fields = ["-T", "fields", "-e", "frame.protocols", "-e", "_ws.expert.message"];
    const output = await run(["tshark", "-n", "-r", this.#file, "-Y", "l2tp", ...fields]);
    const lines = output.split("\n").filter((line) => line !== "");
    return lines.map((line) => {
      const [protocols = "", notes = ""] = line.split("\t");
      return { protocols, notes };
    });
  }

  async stop(): Promise<void> {
    await this.#background.stopAll();
  }
}
