/** A node without its agent stays ready, its sessions run, and pods that request a session wait. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Cluster,
  type ClusterNode,
  isForeign,
  RELEASE,
  type Reported,
  sessionPair,
  sleeper,
  tunnelPair,
} from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const PORT = 5600;
const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const objects = [
  ...tunnelPair(n1, n2, PORT),
  ...sessionPair(n1, n2, PORT, 600),
  ...sessionPair(n1, n2, PORT, 601),
];
const running = [
  sleeper("stays1", "n1", [{ name: "s600-a", ips: ["10.60.0.1/24"] }]),
  sleeper("stays2", "n2", [{ name: "s600-b", ips: ["10.60.0.2/24"] }]),
];
const waiting = sleeper("waits", "n1", [{ name: "s601-a", ips: ["10.61.0.1/24"] }]);

/** Runs agents only on nodes with this label; null: on all nodes. */
const agentsOn = (label: string | null) => {
  const spec = { template: { spec: { nodeSelector: { "l2tp.dev/agent": label } } } };
  const where = ["--namespace", RELEASE, "patch", `daemonset/${RELEASE}-agent`];
  return cluster.kubectl(...where, "--type=merge", "--patch", JSON.stringify({ spec }));
};

const podsOf = async (component: string) => {
  const { items } = await cluster.client.get<{ items: Reported[] }>(
    `/api/v1/namespaces/${RELEASE}/pods`,
    { labelSelector: `app.kubernetes.io/component=${component}` },
  );
  return items;
};

/** Calls the plugin with the node's plugin list in version 1.1.0, like a newer runtime. */
async function statusOn(node: string) {
  const list = await cluster.onNode(node, "sh", "-c", "cat /etc/cni/net.d/*.conflist");
  const { plugins } = JSON.parse(list) as { plugins: { type: string }[] };
  const plugin = plugins.find(({ type }) => type === "l2tp");
  return cluster.tryOnNode(
    node,
    ["env", "CNI_COMMAND=STATUS", "CNI_PATH=/opt/cni/bin", "/opt/cni/bin/l2tp"],
    JSON.stringify({ ...plugin, cniVersion: "1.1.0", name: "bridge" }),
  );
}

afterAll(() => cluster.close());

describe.skipIf(isForeign)("without any agent", () => {
  beforeAll(async () => {
    await cluster.apply(...objects, ...running);
    await cluster.pings("stays1", "10.60.0.2");
    await agentsOn("nowhere");
    await until("no agent is left", async () => (await podsOf("agent")).length === 0, 60_000);
  });

  afterAll(async () => {
    await agentsOn(null);
    await cluster.rolledOut();
    await cluster.remove(waiting, ...running, ...objects);
  });

  it("a node stays ready, and frames flow", async () => {
    for (const { name } of cluster.nodes) {
      expect(await statusOn(name)).toMatchObject({ status: 0, stdout: "" });
      const node = await cluster.find("Node", name);
      const ready = node?.status?.conditions?.find(({ type }) => type === "Ready");
      expect(ready?.status).toBe("True");
    }
    await cluster.pings("stays1", "10.60.0.2");
  });

  it("the runtime retries a pod that requests a session until the agent runs", async () => {
    await cluster.apply(waiting);
    await until("the runtime has called the plugin", async () => {
      const events = await cluster.eventsOf("waits");
      return events.some((event) => /^FailedCreatePodSandBox: .*l2tp.* agent /.test(event));
    });
    await agentsOn(null);
    await cluster.podRuns("waits");
    await cluster.inPod("waits", "ping", "-c", "1", "-W", "1", "10.61.0.1");
  });
});
