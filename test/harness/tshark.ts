/** Dissects captured packets by Wireshark's dissector (tshark). */
import { statSync } from "node:fs";
import { type Host, inside } from "./net.ts";
import { Background, run } from "./run.ts";
import { until } from "./wait.ts";

export interface Dissected {
  /** The names of the protocols in the packet, such as "eth:ethertype:ip:udp:l2tp:ip:icmp:data". */
  readonly protocols: string;
  /** Tshark's expert information about the packet; empty: no remarks. */
  readonly notes: string;
}

/** A capture of a host's wire, from `start` on. */
export class Capture {
  readonly #file: string;
  readonly #background = new Background();

  /** @param file the path of the capture file */
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

  /** Ends the capture. @returns the L2TP packets */
  async dissect(): Promise<Dissected[]> {
    await until("the capture has packets", () => statSync(this.#file).size > 24);
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
