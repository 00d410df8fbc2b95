/** The chart: values that it refuses, objects that it renders, and a release from installation to uninstallation. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KubeObject } from "../../operator/kube/object.ts";
import {
  CHART,
  Cluster,
  type ClusterNode,
  isForeign,
  RELEASE,
  type Reported,
  sessionPair,
  sleeper,
  tunnelPair,
} from "../harness/cluster.ts";
import { ClusterPing } from "../harness/cluster-ping.ts";
import { until } from "../harness/wait.ts";

const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const where = ["--namespace", RELEASE];

afterAll(() => cluster.close());

describe("the chart", () => {
  it("passes helm lint", async () => {
    const { stdout, status } = await cluster.helm("lint", CHART);
    expect(stdout).toContain("0 chart(s) failed");
    expect(status).toBe(0);
  });

  it.each([
    ["a misspelled value", "agent.datapaht=kernel", /Additional property datapaht/],
    ["another datapath", "agent.datapath=dpdk", /agent\.datapath/],
    ["no controller", "controller.replicas=0", /controller\.replicas/],
  ])("refuses %s", async (_name, value, message) => {
    const { stderr, status } = await cluster.helm("template", RELEASE, CHART, "--set", value);
    expect(stderr).toMatch(message);
    expect(status).not.toBe(0);
  });

  it("renders template.yaml", async () => {
    const { stdout } = await cluster.helm("template", RELEASE, CHART, ...where);
    await expect(stdout).toMatchFileSnapshot("template.yaml");
  });

  it("renders without optional parts", async () => {
    const off = [
      "userspaceDatapath.enabled=false",
      "cni.install=false",
      "controller.generateCookies=false",
      "networkPolicy.enabled=false",
      "monitoring.podMonitor=true",
    ];
    const { stdout } = await cluster.helm("template", RELEASE, CHART, "--set", off.join(","));
    expect(stdout).not.toMatch(/l2tp-install|kind: NetworkPolicy|l2tp-datapath/);
    expect(stdout).not.toContain("verbs: [get, create, patch]");
    expect(stdout).toContain("kind: PodMonitor");
  });
});

describe("the roles", () => {
  const can = async (who: string, verb: string, resource: string) => {
    const [what = "", subresource = ""] = resource.split("/");
    const as = `--as=system:serviceaccount:${RELEASE}:${RELEASE}-${who}`;
    const review = await cluster
      .kubectl("auth", "can-i", verb, what, as, `--subresource=${subresource}`)
      .catch((error: Error) => error.message);
    return /(^|\n)yes/.test(review);
  };

  it.each([
    ["agent", "get", "secrets", true],
    ["agent", "list", "secrets", false],
    ["agent", "watch", "secrets", false],
    ["agent", "patch", "l2tpsessions", false],
    ["agent", "patch", "l2tpsessions/status", true],
    ["agent", "create", "pods", false],
    ["agent", "get", "nodes", false],
    ["controller", "list", "secrets", false],
    ["controller", "delete", "secrets", false],
    ["controller", "patch", "l2tpsessions", true],
    ["controller", "delete", "l2tpsessions", false],
    ["controller", "get", "pods", false],
    ["controller", "patch", "nodes", false],
  ])("%s %s %s: %j", async (who, verb, what, expected) => {
    expect(await can(who, verb, what)).toBe(expected);
  });
});

describe.skipIf(isForeign)("a release", () => {
  const objects = [...tunnelPair(n1, n2, 5400), ...sessionPair(n1, n2, 5400, 400)];
  const pods = [
    sleeper("up1", "n1", [{ name: "s400-a", ips: ["10.40.0.1/24"] }]),
    sleeper("up2", "n2", [{ name: "s400-b", ips: ["10.40.0.2/24"] }]),
  ];
  let netns: string;

  beforeAll(async () => {
    await cluster.apply(...objects, ...pods);
    await cluster.podRuns("up1");
    await cluster.podRuns("up2");
    await cluster.pings("up1", "10.40.0.2");
    netns = await cluster.netnsOf("up1", "n1");
  });

  afterAll(async () => {
    await cluster.install("--set", "agent.secretsRefresh=2");
    await cluster.remove(...pods, ...objects);
  });

  const podsOf = async (component: string) => {
    const list = await cluster.client.get<{ items: Reported[] }>(
      `/api/v1/namespaces/${RELEASE}/pods`,
      { labelSelector: `app.kubernetes.io/component=${component}` },
    );
    return list.items.map(({ metadata }) => metadata.uid).sort();
  };
  const chained = async ({ name }: ClusterNode) => {
    const config = await cluster.onNode(name, "sh", "-c", "cat /etc/cni/net.d/*");
    const plugins = (JSON.parse(config) as { plugins: { type: string }[] }).plugins;
    return plugins.map(({ type }) => type);
  };

  it("is upgraded and rolled back without losing a frame", async () => {
    const datapaths = await podsOf("datapath");
    const agents = await podsOf("agent");
    const ping = new ClusterPing(cluster, "n1", netns, "10.40.0.2");
    await cluster.install("--set", "agent.logLevel=debug");
    expect(await podsOf("agent")).not.toEqual(agents);
    const { status } = await cluster.helm("rollback", RELEASE, ...where);
    expect(status).toBe(0);
    await cluster.rolledOut();
    const { sent, received, gaps } = await ping.stop();
    expect(sent).toBeGreaterThan(100);
    // The last frame may have been in flight.
    expect(gaps).toEqual([]);
    expect(sent - received).toBeLessThan(2);
    expect(await podsOf("datapath")).toEqual(datapaths);
    for (const node of cluster.nodes) {
      expect(await chained(node)).toEqual(["bridge", "portmap", "l2tp"]);
    }
  });

  it("chains the plugin again after another process has rewritten the configuration", async () => {
    const file = "/etc/cni/net.d/10-bridge.conflist";
    const script = `node=$(cat ${file}); echo "$node" | tr '\\n' ' ' | sed 's/, *{ *"type": "l2tp".*/ ] }/' > ${file}`;
    await cluster.onNode("n1", "sh", "-c", script);
    await until("it is chained again", async () => (await chained(n1)).includes("l2tp"));
  });

  it("leaves nothing on the nodes after the uninstallation", async () => {
    const { status, stderr } = await cluster.helm("uninstall", RELEASE, ...where);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    for (const node of cluster.nodes) {
      const { name } = node;
      await until(
        `nothing is left on ${name}`,
        async () => {
          expect(await chained(node)).toEqual(["bridge", "portmap"]);
          expect(await cluster.devices(name)).toEqual([]);
          const files =
            "ls /opt/cni/bin/l2tp /run/l2tp-cni/cache.json /var/lib/l2tp-cni/attachments/*";
          expect(await cluster.onNode(name, "sh", "-c", `${files} 2>/dev/null || true`)).toBe("");
          return true;
        },
        60_000,
      );
    }
    const roles = await cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name");
    expect(roles).not.toContain("l2tp");
    // The users' objects stay, without finalizers.
    for (const { kind = "", metadata } of objects) {
      const object = (await cluster.find(kind, metadata.name, metadata.namespace)) as KubeObject;
      expect(object.metadata.finalizers ?? []).toEqual([]);
    }
  });

  it("programs the objects after another installation", async () => {
    await cluster.install("--set", "agent.secretsRefresh=2");
    for (const object of objects) await cluster.condition(object, "Programmed", "True");
    await cluster.remove(...pods);
    await cluster.apply(...pods);
    await cluster.pings("up1", "10.40.0.2");
  });
});
