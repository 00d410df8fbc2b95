/** BPF programs forward frames between pods: capabilities and seccomp profile of the container permit bpf(2). */
import { afterAll, describe, expect, it } from "vitest";
import type { SessionRow } from "../../operator/agent-protocol.ts";
import {
  Cluster,
  type ClusterNode,
  isForeign,
  sessionPair,
  sleeper,
  tunnelPair,
} from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const PORT = 5900;
const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const FAST = { datapath: "Userspace", udpChecksum: false, fastPath: true };
const tunnels = tunnelPair(n1, n2, PORT, FAST);
const sessions = sessionPair(n1, n2, PORT, 590);
const pods = [
  sleeper("fast-a", n1.name, [{ name: "s590-a", ips: ["10.59.0.1/24"] }]),
  sleeper("fast-b", n2.name, [{ name: "s590-b", ips: ["10.59.0.2/24"] }]),
];

afterAll(async () => {
  await cluster.remove(...pods, ...sessions, ...tunnels);
  for (const { name } of cluster.nodes) expect(await cluster.devices(name)).toEqual([]);
  cluster.close();
});

/** Returns from l2tpctl whether the node's sessions of this test are on the fast path. */
async function isFast({ name }: ClusterNode): Promise<boolean> {
  const rows = await cluster.ctl<SessionRow[]>(name, "sessions");
  return rows.some((row) => row.sessionId === 590 && row.fastPath);
}

// The kernel of a foreign cluster may lack what the fast path needs.
describe.skipIf(isForeign)("the fast path", () => {
  it("forwards frames between pods of two nodes", async () => {
    await cluster.apply(...tunnels, ...sessions, ...pods);
    for (const pod of ["fast-a", "fast-b"]) await cluster.podRuns(pod);
    await cluster.pings("fast-a", "10.59.0.2");
    for (const node of [n1, n2]) await until("the programs carry them", () => isFast(node));
    await cluster.pings("fast-b", "10.59.0.1");
  });
});
