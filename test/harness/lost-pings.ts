/** Counts lost pings during an operation. */
import { inside } from "./net.ts";
import { pingReturns } from "./ping-returns.ts";
import { Background } from "./run.ts";
import { until } from "./wait.ts";

const INTERVAL = "0.002";

/**
 * Pings without pause until `work` is done.
 * @returns how many of the pings sent until then have no reply
 */
export async function lostPings(
  namespace: string,
  address: string,
  work: () => Promise<void>,
): Promise<number> {
  const background = new Background();
  let output = "";
  background.start(inside(namespace, "ping", "-D", "-i", INTERVAL, address), (text) => {
    output += text;
  });
  try {
    await until("pings are answered", () => pingReturns(output).length > 0);
    await work();
    const done = Date.now();
    // Frames keep their order: when this ping is answered, earlier ones are answered or lost.
    const { sequence: last } = await until("a ping is answered", () =>
      pingReturns(output).find(({ at }) => at > done),
    );
    const returned = pingReturns(output).filter(({ sequence }) => sequence <= last);
    return last - new Set(returned.map(({ sequence }) => sequence)).size;
  } finally {
    await background.stopAll();
  }
}
