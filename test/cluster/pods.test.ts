/** Pods on pseudowires, requested like users do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KubeObject } from "../../operator/kube/object.ts";
import {
  Cluster,
  type ClusterNode,
  isForeign,
  type Reported,
  sessionPair,
  sleep,
  sleeper,
  tunnelPair,
} from "../harness/cluster.ts";
import { ip, ping } from "../harness/net.ts";
import { startQemu } from "../harness/qemu.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const PORT = 5000;
const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];

const secretKeyRef = (key: string) => ({
  valueFrom: { secretKeyRef: { name: "cookies", key }, generate: true },
});

const tunnels = tunnelPair(n1, n2, PORT);

beforeAll(async () => {
  await cluster.apply(...tunnels);
  for (const tunnel of tunnels) await cluster.condition(tunnel, "Programmed", "True");
});

afterAll(async () => {
  await cluster.remove(...tunnels);
  for (const { name } of cluster.nodes) expect(await cluster.devices(name)).toEqual([]);
  cluster.close();
});

describe("chained, by the annotation", () => {
  it("connects two pods on two nodes, with generated cookies", async () => {
    const [left, right] = sessionPair(n1, n2, PORT, 100) as [Reported, Reported];
    const cookies = (receive: string, transmit: string) => ({
      cookies: { receive: secretKeyRef(receive), transmit: secretKeyRef(transmit) },
    });
    const sessions = [
      { ...left, spec: { ...left.spec, ...cookies("left", "right") } },
      { ...right, spec: { ...right.spec, ...cookies("right", "left") } },
    ];
    const pods = [
      sleeper("a", n1.name, [{ name: "s100-a", interface: "lan", ips: ["10.100.0.1/24"] }]),
      sleeper("b", n2.name, [{ name: "s100-b", interface: "lan", ips: ["10.100.0.2/24"] }]),
    ];
    await cluster.apply(...sessions, ...pods);
    await cluster.podRuns("a");
    await cluster.podRuns("b");
    await cluster.pings("a", "10.100.0.2");
    for (const session of sessions) {
      await cluster.condition(session, "Attached", "True", "Attached");
    }
    const { status } = (await cluster.find("L2tpSession", "s100-a", "default")) as Reported;
    expect(status).toMatchObject({
      nodeName: n1.name,
      sessionId: 100,
      mtu: 1438,
      interface: "lan",
      attachedTo: [{ pod: "default/a", interface: "lan" }],
    });
    await cluster.remove(...pods, ...sessions);
    // The generated Secret is deleted with the session.
    await cluster.gone("Secret", "cookies", "default");
  });

  it("adds no interface to a pod without the annotation", async () => {
    const pod = sleeper("plain", n1.name);
    await cluster.apply(pod);
    await cluster.podRuns("plain");
    const links = await cluster.inPod("plain", "ip", "-o", "link");
    expect(links.match(/^\d+: (\w+)/gm)).toEqual(["1: lo", expect.stringMatching(/eth0/)]);
    await cluster.remove(pod);
  });

  it("names the session's node to a pod on another node", async () => {
    const sessions = sessionPair(n1, n2, PORT, 110);
    const pod = sleeper("astray", n1.name, "s110-b");
    await cluster.apply(...sessions, pod);
    await until("the event names the node", async () =>
      (await cluster.eventsOf("astray")).some((event) =>
        /L2tpTunnel ba-5000 is on node n2; run the pod there/.test(event),
      ),
    );
    await cluster.remove(pod, ...sessions);
  });

  it("reports an unknown session", async () => {
    const pod = sleeper("nowhere", n1.name, "nothing");
    await cluster.apply(pod);
    await until("the event says so", async () =>
      (await cluster.eventsOf("nowhere")).some((event) =>
        /no L2tpSession default\/nothing on node n1: not found/.test(event),
      ),
    );
    await cluster.remove(pod);
  });

  it("attaches the next pod of a Deployment after the previous one is deleted", async () => {
    const sessions = sessionPair(n1, n2, PORT, 120);
    const labels = { app: "again" };
    const deployment = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "again", namespace: "default" },
      spec: {
        replicas: 1,
        strategy: { type: "Recreate" },
        selector: { matchLabels: labels },
        template: {
          metadata: {
            labels,
            annotations: {
              "l2tp.dev/sessions": '[{"name":"s120-a","ips":["10.120.0.1/24"]}]',
            },
          },
          spec: {
            ...sleep(n1.name),
            nodeName: undefined,
            nodeSelector: { "kubernetes.io/hostname": n1.name },
          },
        },
      },
    };
    const other = sleeper("other", n2.name, [{ name: "s120-b", ips: ["10.120.0.2/24"] }]);
    await cluster.apply(...sessions, deployment, other);
    const podOf = async () => {
      const list = await cluster.client.get<{ items: Reported[] }>(
        "/api/v1/namespaces/default/pods",
        { labelSelector: "app=again" },
      );
      const alive = list.items.filter(
        ({ metadata, status }) => !metadata.deletionTimestamp && status?.phase === "Running",
      );
      return alive[0]?.metadata.name;
    };
    await cluster.podRuns("other");
    const first = await until("the first pod runs", podOf, 60_000);
    await cluster.pings("other", "10.120.0.1");
    await cluster.delete("Pod", first, "default");
    await until(
      "another pod runs",
      async () => {
        const name = await podOf();
        return name !== undefined && name !== first;
      },
      60_000,
    );
    await cluster.pings("other", "10.120.0.1");
    await cluster.remove(deployment, other, ...sessions);
  });

  it("bridges several pods of a node", async () => {
    const sessions = sessionPair(n1, n2, PORT, 130, { attachment: { mode: "Bridge" } });
    const at = (session: string, address: string) => [{ name: session, ips: [address] }];
    const pods = [
      sleeper("b1", n1.name, at("s130-a", "10.130.0.1/24")),
      sleeper("b2", n1.name, at("s130-a", "10.130.0.2/24")),
      sleeper("b3", n2.name, at("s130-b", "10.130.0.3/24")),
    ];
    await cluster.apply(...sessions, ...pods);
    for (const name of ["b1", "b2", "b3"]) await cluster.podRuns(name);
    await cluster.pings("b1", "10.130.0.2");
    await cluster.pings("b1", "10.130.0.3");
    await cluster.pings("b3", "10.130.0.2");
    await cluster.remove(...pods, ...sessions);
  });
});

describe.skipIf(isForeign)("as a main plugin", () => {
  it("answers the calls that Multus makes for a NetworkAttachmentDefinition", async () => {
    const sessions = sessionPair(n1, n2, PORT, 140);
    const pods = [
      sleeper("m", n1.name),
      sleeper("p", n2.name, [{ name: "s140-b", ips: ["10.140.0.2/24"] }]),
    ];
    await cluster.apply(...sessions, ...pods);
    await cluster.podRuns("m");
    await cluster.podRuns("p");
    const session = sessions[0] as KubeObject;
    await cluster.condition(session, "Programmed", "True");
    const netns = await cluster.netnsOf("m", n1.name);
    const config = {
      cniVersion: "1.0.0",
      name: "branch-lan",
      type: "l2tp",
      session: "s140-a",
      ipam: { type: "static", addresses: [{ address: "10.140.0.1/24" }] },
    };
    const call = (command: string, change: object = {}) =>
      cluster.tryOnNode(
        n1.name,
        [
          "env",
          `CNI_COMMAND=${command}`,
          "CNI_CONTAINERID=multus-m",
          `CNI_NETNS=${netns}`,
          "CNI_IFNAME=net1",
          "CNI_PATH=/opt/cni/bin",
          "CNI_ARGS=IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME=m",
          "/opt/cni/bin/l2tp",
        ],
        JSON.stringify({ ...config, ...change }),
      );
    const added = await call("ADD");
    expect(added).toMatchObject({ status: 0 });
    // Multus creates the network-status annotation from the interface in the sandbox, its MAC and its IPs.
    const result = JSON.parse(added.stdout);
    const inPod = result.interfaces.filter(({ sandbox }: { sandbox?: string }) => sandbox);
    expect(inPod).toEqual([
      {
        name: "net1",
        mac: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
        sandbox: netns,
      },
    ]);
    expect(result.ips).toEqual([
      { address: "10.140.0.1/24", interface: result.interfaces.indexOf(inPod[0]) },
    ]);
    expect(await cluster.inPod("m", "ip", "link", "show", "net1")).toContain(inPod[0].mac);
    await cluster.pings("m", "10.140.0.2");
    await cluster.condition(session, "Attached", "True");
    expect(await call("CHECK", { prevResult: result })).toMatchObject({ status: 0 });
    expect(await call("DEL")).toMatchObject({ status: 0, stdout: "" });
    await cluster.condition(session, "Attached", "False", "NoPod");
    await cluster.remove(...pods, ...sessions);
  });
});

describe.skipIf(isForeign)("a peer outside the cluster", () => {
  const qemu = new Background();
  /** The network namespace of the cluster's helm. It reaches the nodes, and is not a node. */
  const outside = { name: "kc-cli", netns: "/run/netns/kc-cli", ipv4: "10.99.0.253" };

  afterAll(() => qemu.stopAll());

  it("reaches a pod by QEMU's L2TPv3", async () => {
    const tunnel = {
      apiVersion: "l2tp.dev/v1alpha1",
      kind: "L2tpTunnel",
      metadata: { name: "outside" },
      spec: {
        nodeName: n1.name,
        local: { port: 5100 },
        remote: { address: outside.ipv4, port: 5100 },
        tunnelId: 5100,
        peerTunnelId: 5100,
      },
    };
    const session = {
      apiVersion: "l2tp.dev/v1alpha1",
      kind: "L2tpSession",
      metadata: { name: "outside", namespace: "default" },
      // QEMU's txsession is our session ID.
      spec: { tunnelRef: { name: "outside" }, sessionId: 7, peerSessionId: 0xffffffff },
    };
    const pod = sleeper("q", n1.name, [{ name: "outside", ips: ["10.150.0.1/24"] }]);
    await cluster.apply(tunnel, session, pod);
    await cluster.podRuns("q");
    await startQemu(
      qemu,
      { ...outside, ipv6: "", device: "eth0" },
      "kcqemu0",
      `src=${outside.ipv4},dst=${n1.address},ipv6=off,udp=on,srcport=5100,dstport=5100,` +
        "rxsession=0xffffffff,txsession=7,counter=on,pincounter=on",
    );
    await ip(outside.name, "addr", "add", "10.150.0.2/24", "dev", "kcqemu0");
    await ip(outside.name, "link", "set", "kcqemu0", "up");
    await cluster.pings("q", "10.150.0.2");
    expect(await ping(outside.name, "10.150.0.1")).toBeTruthy();
    await cluster.remove(pod, session, tunnel);
  });
});
