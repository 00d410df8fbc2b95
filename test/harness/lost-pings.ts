/** How many pings are lost while something happens. */
import { inside } from "./net.ts";
import { pingReturns } from "./ping-returns.ts";
import { Background } from "./run.ts";
import { until } from "./wait.ts";

const INTERVAL = "0.002";

/**
 * Pings without pause until `work` is done, however long it takes.
 * @returns how many pings that left until then did not come back
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
    await until("pings come back", () => pingReturns(output).length > 0);
    await work();
    const done = Date.now();
    // Frames keep their order: what left before this one has come back by then, or is lost.
    const { sequence: last } = await until("a ping comes back", () =>
      pingReturns(output).find(({ at }) => at > done),
    );
    const returned = pingReturns(output).filter(({ sequence }) => sequence <= last);
    return last - new Set(returned.map(({ sequence }) => sequence)).size;
  } finally {
    await background.stopAll();
  }
}
