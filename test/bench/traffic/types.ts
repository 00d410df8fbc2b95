/** Compares pseudowire types with Ethernet, over one wire and by the same processes. */
import { TestAgent } from "../../harness/agent.ts";
import type { TestNet } from "../../harness/net.ts";
import { Background } from "../../harness/run.ts";
import type { Report } from "../report.ts";
import { processorsPerGigabyte, tcp } from "./measures.ts";
import { ready, startOurs } from "./sides.ts";
import { alternate } from "./turns.ts";

const MTU = 1400;
const BOUND = { least: 0.95 };

export async function benchTypes(net: TestNet, report: Report): Promise<void> {
  const background = new Background();
  const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
  const place = { net, background, mtu: MTU };
  try {
    for (const agent of agents) await agent.start();
    const ethernet = await startOurs(place, agents, "UDP");
    const ip = await startOurs(place, agents, "IP pseudowire");
    const sides = [ip, ethernet];
    for (const side of sides) await ready(side, background);
    for (const flows of [1, 8]) {
      const [ours = [], theirs = []] = await alternate(sides, (side) => tcp(side, flows));
      const work = `TCP by an IP pseudowire, ${flows} flow${flows > 1 ? "s" : ""}`;
      report.add(work, "Ethernet", [ours, theirs], BOUND, "Gbit/s");
    }
    const [ours = [], theirs = []] = await alternate(sides, processorsPerGigabyte);
    const work = "processors a gigabyte by an IP pseudowire";
    report.add(work, "Ethernet", [ours, theirs], {}, "s");
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
  }
}
