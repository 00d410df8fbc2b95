/** Streams between network stacks. Data must arrive unchanged, without checksum errors. */
import { fileURLToPath } from "node:url";
import { inside, nameOf } from "./net.ts";
import { Background, run } from "./run.ts";
import { until } from "./wait.ts";

const STREAM = fileURLToPath(new URL("stream.ts", import.meta.url));
const PORT = 6000;

/** The path of a namespace, and its address. */
export interface End {
  readonly netns: string;
  readonly address: string;
}

export interface Streamed {
  readonly bytes: number;
  readonly sha256: string;
}

/** Sends random bytes by TCP. */
export async function streamTcp(from: End, to: End, bytes: number) {
  return stream("tcp", from, to, bytes);
}

/**
 * Sends random datagrams by UDP, of 1200 bytes and short ones, at the rate of the replies. Content and order are
 * compared, so no datagram may be lost.
 */
export async function streamUdp(from: End, to: End, bytes: number) {
  return stream("udp", from, to, bytes);
}

async function stream(protocol: "tcp" | "udp", from: End, to: End, bytes: number) {
  const background = new Background();
  const program = (end: End, ...args: string[]) =>
    inside(nameOf(end.netns), process.execPath, STREAM, protocol, ...args);
  let output = "";
  try {
    background.start(program(to, "receive", to.address, String(PORT)), (text) => {
      output += text;
    });
    await until("the receiver listens", () => output.includes("listening"));
    const sent = await run(program(from, "send", to.address, String(PORT), String(bytes)));
    const received = await until(
      () => `all data arrives: ${output}`,
      () => /^\{.*\}$/m.exec(output)?.[0],
    );
    return { sent: JSON.parse(sent) as Streamed, received: JSON.parse(received) as Streamed };
  } finally {
    await background.stopAll();
  }
}

/** Number of segments and datagrams that a namespace's stack has dropped for wrong checksums. */
export async function wrongChecksums(netns: string): Promise<number> {
  const text = await run(inside(nameOf(netns), "nstat", "-asz"));
  const counters = text.matchAll(/^(?:TcpInCsumErrors|UdpInCsumErrors|Udp6InCsumErrors)\s+(\d+)/gm);
  return [...counters].reduce((sum, [, count]) => sum + Number(count), 0);
}
