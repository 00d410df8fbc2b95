/** Pseudowire types, and the attachment modes of sessions without pods, between two nodes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KubeObject } from "../../operator/kube/object.ts";
import { Cluster, type ClusterNode, sessionPair, sleeper, tunnelPair } from "../harness/cluster.ts";

const [PORT, SECOND_PORT] = [5400, 5401];
const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const allowed = { allowedInterfaces: ["edge*"] };
const tunnels = [PORT, SECOND_PORT].flatMap((port) => tunnelPair(n1, n2, port, allowed));

beforeAll(async () => {
  await cluster.apply(...tunnels);
  for (const tunnel of tunnels) await cluster.condition(tunnel, "Programmed", "True");
});

afterAll(async () => {
  await cluster.remove(...tunnels);
  for (const { name } of cluster.nodes) expect(await cluster.devices(name)).toEqual([]);
  cluster.close();
});

type Session = KubeObject & { readonly spec: object };

/** Returns both ends of a session. @param attachment that of node 1 */
function pair(port: number, id: number, attachment: object, type: object = {}): Session[] {
  const [near, far] = sessionPair(n1, n2, port, id, type) as [Session, Session];
  return [{ ...near, spec: { ...near.spec, attachment } }, far];
}

describe("pods on both nodes", () => {
  it.each<[string, number, object]>([
    ["EthernetVLAN", 400, { vlan: { id: 100 } }],
    ["IP", 410, {}],
  ])("reach each other by a pseudowire of type %s", async (pseudowireType, id, fields) => {
    const sessions = sessionPair(n1, n2, PORT, id, { pseudowireType, ...fields });
    const pods = [
      sleeper("t1", n1.name, [{ name: `s${id}-a`, ips: ["10.140.0.1/24"] }]),
      sleeper("t2", n2.name, [{ name: `s${id}-b`, ips: ["10.140.0.2/24"] }]),
    ];
    await cluster.apply(...sessions, ...pods);
    for (const name of ["t1", "t2"]) await cluster.podRuns(name);
    await cluster.pings("t1", "10.140.0.2");
    await cluster.remove(...pods, ...sessions);
  });
});

it("a pod reaches an interface of the other node", async () => {
  const sessions = pair(PORT, 420, {
    ...{ mode: "Interface", interface: "edge0", create: true },
    addresses: ["10.142.0.1/24"],
  });
  const pod = sleeper("t3", n2.name, [{ name: "s420-b", ips: ["10.142.0.2/24"] }]);
  await cluster.apply(...sessions, pod);
  await cluster.podRuns("t3");
  await cluster.pings("t3", "10.142.0.1");
  await cluster.condition(sessions[0] as Session, "Attached", "True");
  await cluster.remove(pod, ...sessions);
});

it("pods of one node reach each other by a switch on the other node", async () => {
  const to = (name: string) => ({ mode: "Switch", switchTo: { name } });
  const sessions = [
    ...pair(PORT, 430, to("s431-a")),
    ...pair(SECOND_PORT, 431, to("s430-a")),
  ] as const;
  const pods = [
    sleeper("t4", n2.name, [{ name: "s430-b", ips: ["10.143.0.1/24"] }]),
    sleeper("t5", n2.name, [{ name: "s431-b", ips: ["10.143.0.2/24"] }]),
  ];
  await cluster.apply(...sessions, ...pods);
  for (const name of ["t4", "t5"]) await cluster.podRuns(name);
  await cluster.pings("t4", "10.143.0.2");
  await cluster.condition(sessions[0] as Session, "Switched", "True");
  await cluster.remove(...pods, ...sessions);
});
