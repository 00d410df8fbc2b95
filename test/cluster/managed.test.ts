/** Managed tunnels between two nodes: without IDs and cookies, with a shared secret, and Events about the peer. */
import { afterAll, describe, expect, it } from "vitest";
import { Cluster, type ClusterNode, type Reported, sleeper } from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const API = "l2tp.dev/v1alpha1";

const secret = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: "branch", namespace: "default" },
  stringData: { secret: "correct horse" },
};
const control = {
  secretRef: { namespace: "default", name: "branch", key: "secret" },
  hello: { interval: "1s", deadAfter: "3s" },
};
const tunnel = (mine: ClusterNode, other: ClusterNode) => ({
  apiVersion: API,
  kind: "L2tpTunnel",
  metadata: { name: `managed-${mine.name}` },
  spec: {
    nodeName: mine.name,
    local: { port: 1701 },
    remote: { address: other.address },
    control,
  },
});
const session = (mine: ClusterNode) => ({
  apiVersion: API,
  kind: "L2tpSession",
  metadata: { name: `managed-${mine.name}`, namespace: "default" },
  spec: { tunnelRef: { name: `managed-${mine.name}` }, remoteEndId: "lan" },
});
const tunnels = [tunnel(n1, n2), tunnel(n2, n1)] as const;
const sessions = [session(n1), session(n2)] as const;
const pods = [
  sleeper("m1", n1.name, [{ name: sessions[0].metadata.name, ips: ["10.60.0.1/24"] }]),
  sleeper("m2", n2.name, [{ name: sessions[1].metadata.name, ips: ["10.60.0.2/24"] }]),
];

afterAll(async () => {
  await cluster.remove(...pods, ...sessions, ...tunnels, secret);
  for (const { name } of cluster.nodes) expect(await cluster.devices(name)).toEqual([]);
  cluster.close();
});

const events = () => cluster.eventsOf(tunnels[0].metadata.name, "default");

describe("a managed tunnel", () => {
  it("is established after its Secret has been created", async () => {
    await cluster.apply(...tunnels, ...sessions);
    for (const object of tunnels) await cluster.condition(object, "Programmed", "False");
    await cluster.apply(secret, ...pods);
    for (const pod of ["m1", "m2"]) await cluster.podRuns(pod);
    await cluster.pings("m1", "10.60.0.2");
    for (const object of tunnels) await cluster.condition(object, "Alive", "True");
    for (const object of sessions) await cluster.condition(object, "Established", "True");
    const { status } = (await cluster.find("L2tpTunnel", tunnels[0].metadata.name)) as Reported;
    expect(status).toMatchObject({ datapath: "Userspace", remoteAddress: n2.address });
    expect(JSON.stringify(status)).not.toContain("horse");
  });

  it("refuses a circuit that a session of another namespace has", async () => {
    const [holder] = sessions;
    const taker = {
      ...holder,
      metadata: { name: "a", namespace: "kube-public" },
    };
    await cluster.apply(taker);
    const refused = await cluster.condition(taker, "Accepted", "False", "Conflict");
    expect(refused.message).toContain(`L2tpSession default/${holder.metadata.name}`);
    await cluster.apply({ ...holder, spec: { ...holder.spec, mtu: 1400 } });
    await until("the change is programmed", async () => {
      const { status } = (await cluster.find(
        "L2tpSession",
        holder.metadata.name,
        "default",
      )) as Reported;
      return (status as { mtu?: number }).mtu === 1400;
    });
    await cluster.condition(taker, "Accepted", "False", "Conflict");
    await cluster.pings("m1", "10.60.0.2");
    const other = { ...taker, spec: { tunnelRef: { name: tunnels[0].metadata.name } } };
    await cluster.remove(taker);
    await cluster.apply(other);
    await cluster.condition(other, "Accepted", "True");
    const found = (await cluster.find("L2tpSession", "a", "kube-public")) as Reported;
    expect(found.status).toMatchObject({ remoteEndId: "kube-public/a" });
    await cluster.remove(other);
  });

  it("reports the loss and the recovery of the peer by Events", async () => {
    const [own, peers] = tunnels;
    await cluster.remove(peers);
    await cluster.condition(own, "Alive", "False");
    await until("there is an Event", async () =>
      (await events()).some((event) => event.includes("shutting down")),
    );
    await cluster.apply(peers);
    await cluster.condition(own, "Alive", "True");
    await until("there is an Event", async () =>
      (await events()).some((event) => event.startsWith("PeerRecovered: ")),
    );
    await cluster.pings("m1", "10.60.0.2");
  });
});
