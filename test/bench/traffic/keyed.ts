/** Compares traffic on a thousand keyed circuits with traffic on one. */
import { fileURLToPath } from "node:url";
import { TestAgent } from "../../harness/agent.ts";
import {
  COOKIES,
  circuitAddress,
  keyedSession,
  keyedTunnel,
  PREFIX,
  routePrefix,
} from "../../harness/keyed.ts";
import { inside, type TestNet } from "../../harness/net.ts";
import { run } from "../../harness/run.ts";
import { until } from "../../harness/wait.ts";
import { attachAll } from "../attach.ts";
import type { Report } from "../report.ts";
import { receivedBy, SECONDS } from "./measures.ts";
import { alternate } from "./turns.ts";

const MANY = 1000;
const FLOOD = fileURLToPath(new URL("../../harness/keyed-flood.ts", import.meta.url));
const FRAME_BYTES = 64;

/** Floods one circuit, or in turn a thousand circuits with the same session ID. */
export async function benchKeyed(net: TestNet, report: Report): Promise<void> {
  const agent = new TestAgent(net.b);
  try {
    await routePrefix(net.a, net.b);
    await agent.start();
    const names = Array.from({ length: MANY }, (_, index) => `k${index}`);
    agent.write(
      "all.yaml",
      names.flatMap((name, index) => [
        keyedTunnel(name, net.b.name, {
          local: { address: circuitAddress(index), prefix: PREFIX },
          remote: { address: net.a.ipv6 },
        }),
        keyedSession(name),
      ]),
    );
    await until("the sessions exist", () => agent.session(`shop/k${MANY - 1}`));
    const namespace = await net.addPod("keyed");
    await attachAll(
      agent,
      namespace,
      names.map((name) => `shop/${name}`),
    );
    const [one = [], all = []] = await alternate([1, MANY], async (circuits) => {
      const before = await receivedBy(namespace, "l2tp");
      const ends = [net.a.ipv6, message(), String(SECONDS), String(circuits)];
      await run(inside(net.a.name, process.execPath, FLOOD, ...ends));
      return ((await receivedBy(namespace, "l2tp")) - before) / SECONDS;
    });
    const work = `64-byte frames received by ${MANY} keyed circuits`;
    report.add(work, "1 circuit", [all, one], { least: 0.9 }, "frames/s");
  } finally {
    await agent.destroy();
  }
}

/** The frame has an unknown MAC address, so that neither stack processes the frame. */
function message(): string {
  const frame = `02000000000102000000000288b5${"00".repeat(FRAME_BYTES - 14)}`;
  return `ffffffff${COOKIES.receive.value}${frame}`;
}
