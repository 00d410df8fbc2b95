/** Many sessions on one node: from nothing, and with nothing to do. */
import { readFileSync } from "node:fs";
import { TestAgent } from "../harness/agent.ts";
import { TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";
import { median, type Report } from "./report.ts";

const SESSIONS = [250, 500, 1000] as const;
const SESSIONS_PER_TUNNEL = 10;
const IDLE_PASSES = 7;

interface Scale {
  readonly sessions: number;
  readonly convergeMs: number;
  readonly idleMs: number;
  readonly agentBytes: number;
  readonly datapathBytes: number;
}

export async function benchScale(_net: TestNet, report: Report): Promise<void> {
  const scales: Scale[] = [];
  for (const sessions of SESSIONS) {
    const scale = await measure(sessions);
    scales.push(scale);
    const { convergeMs, idleMs, agentBytes, datapathBytes } = scale;
    const memory = `${mebibytes(agentBytes)} agent, ${mebibytes(datapathBytes)} datapath`;
    console.log(
      `${sessions} sessions over ${sessions / SESSIONS_PER_TUNNEL} tunnels: ${convergeMs} ms from nothing, ${idleMs} ms with nothing to do, ${memory}`,
    );
  }
  const [small, large] = [scales[0], scales.at(-1)];
  if (small === undefined || large === undefined) return;
  const times = large.sessions / small.sessions;
  for (const [work, figure] of [
    ["converge from nothing", "convergeMs"],
    ["no-op pass", "idleMs"],
  ] as const) {
    const note = `${large[figure]} against ${small[figure]} ms, ${mebibytes(large.agentBytes)} agent, ${mebibytes(large.datapathBytes)} datapath`;
    const ratio = large[figure] / small[figure] / times;
    const against = `${times} × ${small.sessions}`;
    report.addRatio(`${large.sessions} sessions, ${work}`, against, ratio, { most: 1 }, note);
  }
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;

/** Bridged, so that each session has a device and a bridge although no pod has attached. */
async function measure(sessions: number): Promise<Scale> {
  const net = await TestNet.create();
  const agent = new TestAgent(net.a);
  try {
    const tunnels = Array.from({ length: sessions / SESSIONS_PER_TUNNEL }, (_, index) => index + 1);
    for (const id of tunnels) {
      const ids = { tunnelId: id, peerTunnelId: id };
      const tunnel = tunnelObject(`t${id}`, net.a, net.b, {
        ...ids,
        remote: { address: net.b.ipv4, port: 10_000 + id },
      });
      const own = Array.from({ length: SESSIONS_PER_TUNNEL }, (_, index) => {
        const sessionId = id * 100 + index;
        const attachment = { mode: "Bridge" } as const;
        const spec = { sessionId, peerSessionId: sessionId, attachment };
        return sessionObject(`s${sessionId}`, `t${id}`, spec);
      });
      agent.write(`t${id}.yaml`, [tunnel, ...own]);
    }
    await agent.start("--log-level", "debug");
    const passes = () =>
      agent.log
        .split("\n")
        .filter((line) => line.endsWith("}"))
        .map((line) => JSON.parse(line) as { actions?: number; milliseconds?: number });
    const idle = () => passes().filter(({ actions }) => actions === 0);
    await until("passes with nothing to do", () => idle().length >= IDLE_PASSES, 120_000);
    const first = passes().find(({ actions = 0 }) => actions > sessions);
    return {
      sessions,
      convergeMs: first?.milliseconds ?? Number.NaN,
      idleMs: median(idle().map(({ milliseconds = Number.NaN }) => milliseconds)),
      agentBytes: residentBytes(agent.pid()),
      datapathBytes: residentBytes(await agent.datapathPid()),
    };
  } finally {
    await agent.destroy();
    await net.remove();
  }
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
