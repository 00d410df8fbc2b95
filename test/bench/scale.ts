/** Many sessions on one node: the first reconcile, and idle ones. */
import { deleteLink, listLinks } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { TestAgent } from "../harness/agent.ts";
import { TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { attachAll } from "./attach.ts";
import { passes, passesAtRest } from "./passes.ts";
import { residentMebibytes } from "./processes.ts";
import { median, type Report } from "./report.ts";

const SESSIONS = [250, 500, 1000] as const;
const SESSIONS_PER_TUNNEL = 10;
const IDLE_PASSES = 7;

interface Scale {
  readonly sessions: number;
  readonly convergeMs: number;
  readonly idleMs: number;
  readonly agentMebibytes: number;
  readonly datapathMebibytes: number;
}

export async function benchScale(_net: TestNet, report: Report): Promise<void> {
  const scales: Scale[] = [];
  for (const sessions of SESSIONS) {
    await report.attempt(`${sessions} sessions`, async () => {
      const scale = await measure(sessions);
      scales.push(scale);
      const { convergeMs, idleMs, agentMebibytes, datapathMebibytes } = scale;
      const memory = `${mebibytes(agentMebibytes)} agent, ${mebibytes(datapathMebibytes)} datapath`;
      console.log(
        `${sessions} sessions over ${sessions / SESSIONS_PER_TUNNEL} tunnels: ${convergeMs} ms from nothing, ${idleMs} ms with nothing to do, ${memory}`,
      );
    });
  }
  const [small, large] = [SESSIONS[0], SESSIONS.at(-1)].map((wanted) =>
    scales.find(({ sessions }) => sessions === wanted),
  );
  // A missing result has a row with its error.
  if (small === undefined || large === undefined) return;
  const times = large.sessions / small.sessions;
  for (const [work, figure] of [
    ["converge from nothing", "convergeMs"],
    ["no-op pass", "idleMs"],
  ] as const) {
    const note = `${large[figure]} against ${small[figure]} ms, ${mebibytes(large.agentMebibytes)} agent, ${mebibytes(large.datapathMebibytes)} datapath`;
    const ratio = large[figure] / small[figure] / times;
    const against = `${times} × ${small.sessions}`;
    report.addRatio(`${large.sessions} sessions, ${work}`, against, ratio, { most: 1 }, note);
  }
}

const mebibytes = (count: number) => `${Math.round(count)} MiB`;

/** Measures sessions that are all attached to one pod, each with an address. */
async function measure(sessions: number): Promise<Scale> {
  const net = await TestNet.create();
  const agent = new TestAgent(net.a);
  try {
    const keys = writeManifests(agent, net, sessions);
    await agent.start();
    const pod = await net.addPod("all");
    await attachAll(agent, pod, keys);
    // Keep the manifests and the attachments only: the next agent programs everything.
    const datapath = await agent.datapathPid();
    await agent.kill();
    process.kill(datapath, "SIGKILL");
    await deleteDevices(pod);
    agent.log = "";
    agent.launch("--log-level", "debug");
    const idle = await passesAtRest(agent, IDLE_PASSES);
    const first = passes(agent).find(({ actions = 0 }) => actions > sessions);
    return {
      sessions,
      convergeMs: first?.milliseconds ?? Number.NaN,
      idleMs: median(idle),
      agentMebibytes: residentMebibytes([agent.pid()]),
      datapathMebibytes: residentMebibytes([await agent.datapathPid()]),
    };
  } finally {
    await agent.destroy();
    await net.remove();
  }
}

/** @returns the keys of the sessions */
function writeManifests(agent: TestAgent, { a, b }: TestNet, sessions: number): string[] {
  const keys: string[] = [];
  for (let id = 1; id <= sessions / SESSIONS_PER_TUNNEL; id++) {
    const remote = { address: b.ipv4, port: 10_000 + id };
    const tunnel = tunnelObject(`t${id}`, a, b, { tunnelId: id, peerTunnelId: id, remote });
    const own = Array.from({ length: SESSIONS_PER_TUNNEL }, (_, index) => {
      const sessionId = id * 100 + index;
      keys.push(`shop/s${sessionId}`);
      return sessionObject(`s${sessionId}`, `t${id}`, { sessionId, peerSessionId: sessionId });
    });
    agent.write(`t${id}.yaml`, [tunnel, ...own]);
  }
  return keys;
}

async function deleteDevices(netns: string): Promise<void> {
  const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  const links = listLinks(socket).filter(({ kind }) => kind === "tun");
  for (const { index } of links) await deleteLink(socket, netns, index);
  socket.close();
}
