/** Data through real stacks: what arrives must be what was sent, and no checksum may have been wrong. */
import { fileURLToPath } from "node:url";
import { inside, nameOf } from "./net.ts";
import { Background, run } from "./run.ts";
import { until } from "./wait.ts";

const STREAM = fileURLToPath(new URL("stream.ts", import.meta.url));
const PORT = 6000;

/** A namespace by path, and its address there. */
export interface End {
  readonly netns: string;
  readonly address: string;
}

export interface Streamed {
  readonly bytes: number;
  readonly sha256: string;
}

/** Sends so many bytes of noise by TCP. */
export async function streamTcp(from: End, to: End, bytes: number) {
  return stream("tcp", from, to, bytes);
}

/**
 * Sends datagrams of noise by UDP, at the rate of their answers; of 1200 bytes, and short ones. What is sent
 * counts with its order, so nothing may be lost.
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
    await until("it listens", () => output.includes("listening"));
    const sent = await run(program(from, "send", to.address, String(PORT), String(bytes)));
    const received = await until(
      () => `all is there: ${output}`,
      () => /^\{.*\}$/m.exec(output)?.[0],
    );
    return { sent: JSON.parse(sent) as Streamed, received: JSON.parse(received) as Streamed };
  } finally {
    await background.stopAll();
  }
}

/** Segments and datagrams that a namespace's stack has refused for their checksums. */
export async function wrongChecksums(netns: string): Promise<number> {
  const text = await run(inside(nameOf(netns), "nstat", "-asz"));
  const counters = text.matchAll(/^(?:TcpInCsumErrors|UdpInCsumErrors|Udp6InCsumErrors)\s+(\d+)/gm);
  return [...counters].reduce((sum, [, count]) => sum + Number(count), 0);
}
