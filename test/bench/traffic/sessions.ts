/** Compares many sessions with traffic to one. */
import { TestAgent } from "../../harness/agent.ts";
import type { TestNet } from "../../harness/net.ts";
import { sessionObject, tunnelObject } from "../../harness/objects.ts";
import { until } from "../../harness/wait.ts";
import { attachAll } from "../attach.ts";
import type { Report } from "../report.ts";
import { smallFrames } from "./measures.ts";
import { FLOOD_PORT, type Flooded } from "./sides.ts";
import { alternate } from "./turns.ts";

const MANY = 1000;
const PORT = 5000;

/** Sends the flood's bursts to one session, or in turn to a thousand of the same tunnel. */
export async function benchSessions(net: TestNet, report: Report): Promise<void> {
  const agent = new TestAgent(net.b);
  try {
    await agent.start();
    agent.write("t.yaml", [
      tunnelObject("t", net.b, net.a, {
        ...{ tunnelId: 1, peerTunnelId: 1 },
        local: { address: net.b.ipv4, port: PORT },
        remote: { address: net.a.ipv4, port: FLOOD_PORT },
      }),
      ...Array.from({ length: MANY }, (_, index) =>
        sessionObject(`s${index}`, "t", {
          ...{ sessionId: index + 1, peerSessionId: index + 1 },
          l2SpecificSublayer: "None",
        }),
      ),
    ]);
    await until("the sessions are known", () => agent.session(`shop/s${MANY - 1}`));
    const namespace = await net.addPod("many");
    const keys = Array.from({ length: MANY }, (_, index) => `shop/s${index}`);
    await attachAll(agent, namespace, keys);
    const many: Flooded = { namespace, device: "l2tp", port: PORT, sessionId: 1, sessions: MANY };
    const [one = [], all = []] = await alternate([{ ...many, sessions: 1 }, many], (flooded) =>
      smallFrames(net, flooded),
    );
    const work = `64-byte frames received by ${MANY} sessions`;
    report.add(work, "1 session", [all, one], { least: 0.9 }, "frames/s");
  } finally {
    await agent.destroy();
  }
}
