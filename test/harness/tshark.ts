/** Captures of a host's wire (tcpdump), and Wireshark's dissector for them (tshark). */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { type Host, inside } from "./net.ts";
import { Background, run, tryRun } from "./run.ts";
import { until } from "./wait.ts";

export interface Dissected {
  /** The names of the protocols in the packet, such as "eth:ethertype:ip:udp:l2tp:ip:icmp:data". */
  readonly protocols: string;
  /** Tshark's expert information about the packet; empty: no remarks. */
  readonly notes: string;
}

/** A capture of a host's wire, from `start` to `end`. */
export class Capture {
  readonly file: string;
  readonly #host: Host;
  readonly #background = new Background();

  /** @param file the path of the capture file */
  constructor(host: Host, file: string) {
    this.#host = host;
    this.file = file;
  }

  async start(): Promise<void> {
    let said = "";
    const { name, device } = this.#host;
    const options = ["-i", device, "-n", "-U", "--immediate-mode", "-w", this.file];
    this.#background.start(inside(name, "tcpdump", ...options), (text) => {
      said += text;
    });
    await until(
      () => `tcpdump listens: ${said}`,
      () => said.includes("listening"),
    );
  }

  /** Ends the capture when the file has all packets up to now. */
  async end(): Promise<void> {
    // Tcpdump drops what it has not read when a signal comes: a last packet shows that it has read the others.
    const mark = randomBytes(16);
    const { name, device } = this.#host;
    const options = ["-6", "-c", "1", "-W", "1", "-p", mark.toString("hex"), "-I", device];
    await until("tcpdump has written a last packet", async () => {
      await tryRun(inside(name, "ping", ...options, "ff02::1"));
      return readFileSync(this.file).includes(mark);
    });
    await this.#background.stopAll("SIGINT");
  }

  /**
   * Ends the capture, and dissects it.
   * @param options further options of tshark
   * @returns the L2TP packets
   */
  async dissect(options: readonly string[] = []): Promise<Dissected[]> {
    await this.end();
    const fields = ["-T", "fields", "-e", "frame.protocols", "-e", "_ws.expert.message"];
    const command = ["tshark", "-n", "-r", this.file, "-Y", "l2tp", ...options, ...fields];
    const lines = (await run(command)).split("\n").filter((line) => line !== "");
    return lines.map((line) => {
      const [protocols = "", notes = ""] = line.split("\t");
      return { protocols, notes };
    });
  }

  async stop(): Promise<void> {
    await this.#background.stopAll();
  }
}

/**
 * Captures a UDP datagram of a tunnel while a pod pings 10.1.0.2.
 * @param host the name of the host's namespace
 * @returns its packet in hexadecimal digits
 */
export async function datagramOfPing(host: string, pod: string): Promise<string> {
  const background = new Background();
  background.start(inside(pod, "ping", "-i", "0.2", "10.1.0.2"));
  try {
    const filter = ["udp", "and", "greater", "100"];
    const command = ["tcpdump", "-i", "any", "-c", "1", "-n", "-xx", ...filter];
    const text = await run(inside(host, "timeout", "60", ...command));
    return text.replaceAll(/^\s+0x[0-9a-f]+:|\s/gm, "");
  } finally {
    await background.stopAll();
  }
}
