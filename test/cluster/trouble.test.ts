/** Failures of a cluster: running sessions continue, and everything recovers. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Random } from "../../l2tp/testing/random.ts";
import type { KubeObject } from "../../operator/kube/object.ts";
import { JumpingClock } from "../harness/clock.ts";
import {
  Cluster,
  type ClusterNode,
  isForeign,
  kubeCluster,
  type Reported,
  sessionPair,
  sleeper,
  tunnelPair,
} from "../harness/cluster.ts";
import { ClusterPing } from "../harness/cluster-ping.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const ADMIN = "/var/lib/kube-cluster/admin.kubeconfig";
const PORT = 5500;
/** Number of processes that are killed during the flood of pings. */
const ROUNDS = Number(process.env.CHAOS_ROUNDS ?? 60);
const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const objects = [...tunnelPair(n1, n2, PORT), ...sessionPair(n1, n2, PORT, 500)];
const pods = [
  sleeper("t1", "n1", [{ name: "s500-a", ips: ["10.50.0.1/24"] }]),
  sleeper("t2", "n2", [{ name: "s500-b", ips: ["10.50.0.2/24"] }]),
];
let netns: string;

beforeAll(async () => {
  if (isForeign) return;
  await cluster.apply(...objects, ...pods);
  await cluster.podRuns("t1");
  await cluster.podRuns("t2");
  await cluster.pings("t1", "10.50.0.2");
  netns = await cluster.netnsOf("t1", "n1");
});

afterAll(() => cluster.close());

const flood = () => new ClusterPing(cluster, "n1", netns, "10.50.0.2");
const kill = (node: string, program: string) =>
  cluster.onNode(node, "pkill", "-KILL", "-f", `^/usr/bin/node .*${program}`);

async function allProgrammed(): Promise<void> {
  for (const object of objects) await cluster.condition(object, "Programmed", "True");
}

/** Asks the nodes, because a status may be outdated. */
async function allRunning(): Promise<void> {
  for (const { name } of cluster.nodes) {
    await until(
      `${name} has its session`,
      async () => (await cluster.ctl<{ name: string }[]>(name, "sessions")).length === 1,
      60_000,
    );
  }
}

describe.skipIf(isForeign)("an API server that is down", () => {
  it("costs no frame and no pod, and agents can restart", async () => {
    const ping = flood();
    await kubeCluster("kill-apiserver");
    try {
      // Both agents restart without an API server.
      for (const { name } of cluster.nodes) await kill(name, "l2tp-agent");
      for (const { name } of cluster.nodes) {
        await until(
          `the agent of ${name} continues with its cache`,
          async () => {
            const command = "curl -sf --noproxy '*' http://127.0.0.1:9402/readyz";
            return (await cluster.onNode(name, "sh", "-c", command)).includes("ok");
          },
          60_000,
        );
      }
      // The agent still answers CNI.
      const call = await cluster.tryOnNode(
        "n1",
        [
          ...["env", "CNI_COMMAND=CHECK", "CNI_CONTAINERID=none", `CNI_NETNS=${netns}`],
          ...["CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin", "/opt/cni/bin/l2tp"],
        ],
        JSON.stringify({ cniVersion: "1.0.0", name: "x", type: "l2tp", prevResult: {} }),
      );
      expect(call).toMatchObject({ status: 0 });
    } finally {
      await kubeCluster("start-apiserver");
    }
    const { sent, received, gaps } = await ping.stop();
    expect(sent).toBeGreaterThan(100);
    // The last frame may have been in flight.
    expect(gaps).toEqual([]);
    expect(sent - received).toBeLessThan(2);
    await allProgrammed();
    await allRunning();
  });
});

describe.skipIf(isForeign)("two controllers that both lead", () => {
  const background = new Background();
  afterAll(() => background.stopAll());

  it("allocate one ID for an object", async () => {
    await cluster.apply({
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "rival", namespace: "default" },
    });
    const rival = ["bin/l2tp-controller", "--kubeconfig", ADMIN];
    let log = "";
    background.start([...rival, "--namespace", "default", "--lease", "rival"], (text) => {
      log += text;
    });
    await until("the rival leads", () => log.includes('"leading"'), 60_000);
    const many = Array.from({ length: 40 }, (_, index) => ({
      apiVersion: "l2tp.dev/v1alpha1",
      kind: "L2tpSession",
      metadata: { name: `twice-${index}`, namespace: "default" },
      spec: { tunnelRef: { name: `ab-${PORT}` }, peerSessionId: 10_000 + index },
    }));
    const given = new Map<string, Set<unknown>>();
    onTestFinished(() => cluster.remove(...many));
    await cluster.apply(...many);
    for (const session of many) await cluster.condition(session, "Programmed", "True");
    for (const { metadata } of many) {
      const before = new Set<unknown>();
      given.set(metadata.name, before);
      const object = await cluster.find("L2tpSession", metadata.name, "default");
      before.add(object?.status?.sessionId);
    }
    const rows = await cluster.ctl<{ name: string; sessionId: number }[]>("n1", "sessions");
    for (const { name, sessionId } of rows) given.get(name.split("/")[1] ?? "")?.add(sessionId);
    expect([...given.values()].filter(({ size }) => size !== 1)).toEqual([]);
    const ids = rows.map(({ sessionId }) => sessionId);
    expect(new Set(ids).size).toBe(ids.length);
    await background.stopAll();
    await cluster.kubectl("delete", "lease", "rival");
  });
});

describe.skipIf(isForeign)("controllers whose clocks jump", () => {
  const background = new Background();
  const clocks = { first: new JumpingClock(), second: new JumpingClock() };
  const lease = { kind: "Lease", metadata: { name: "jumping", namespace: "default" } };

  afterAll(async () => {
    await background.stopAll();
    for (const clock of Object.values(clocks)) clock.remove();
    await cluster.delete("Lease", "jumping", "default");
  });

  it("keep their roles of leader and candidate", async () => {
    await cluster.apply({ apiVersion: "coordination.k8s.io/v1", ...lease });
    const program = ["bin/l2tp-controller", "--kubeconfig", ADMIN, "--namespace", "default"];
    const logs = { first: "", second: "" };
    const start = (name: keyof typeof clocks) =>
      background.start(
        [...clocks[name].command, ...program, "--lease", "jumping", "--identity", name],
        (text) => {
          logs[name] += text;
        },
      );
    start("first");
    await until("the first leads", () => logs.first.includes('"leading"'), 60_000);
    start("second");
    await until("the second waits", () => logs.second.includes("waiting"), 60_000);
    const found = async () => {
      const object = await cluster.find("Lease", "jumping", "default");
      return { ...object?.spec, version: object?.metadata.resourceVersion } as {
        holderIdentity?: string;
        leaseTransitions?: number;
        version?: string;
      };
    };
    const before = await found();
    for (const [first, second] of [
      ["+1d", "-1h"],
      ["-1h", "+1d"],
      ["+0", "+0"],
    ] as const) {
      clocks.first.jump(first);
      clocks.second.jump(second);
      for (let renewals = 0; renewals < 3; renewals++) {
        const { version } = await found();
        await until("it is renewed", async () => (await found()).version !== version, 30_000);
      }
      const { holderIdentity, leaseTransitions } = await found();
      expect(holderIdentity).toBe("first");
      expect(leaseTransitions).toBe(before.leaseTransitions);
    }
    expect(logs.second).not.toContain('"leading"');
    await allProgrammed();
  });
});

describe.skipIf(isForeign)("a cluster whose processes are killed", () => {
  it("loses only frames that a dead datapath process could not forward", async () => {
    const dice = new Random(Number(process.env.CHAOS_SEED ?? 1));
    const node = () => dice.pick(["n1", "n2"]);
    const done: string[] = [];
    const blows: Record<string, () => Promise<unknown>> = {
      agent: () => kill(node(), "l2tp-agent"),
      controller: () => kill(node(), "l2tp-controller"),
      kubelet: async () => {
        const name = node();
        await kubeCluster("stop-kubelet", name);
        await kubeCluster("start-kubelet", name);
      },
      apiserver: async () => {
        await kubeCluster("kill-apiserver");
        await kubeCluster("start-apiserver");
      },
      pod: async () => {
        const name = `extra-${done.length}`;
        await cluster.apply(sleeper(name, node()));
        await cluster.delete("Pod", name, "default");
      },
    };
    const quiet = flood();
    for (let round = 0; round < ROUNDS; round++) {
      const name = dice.pick(Object.keys(blows));
      done.push(`${name} at ${Date.now()}`);
      // A killed process may not have restarted yet: then there is nothing to kill.
      await blows[name]?.().catch(() => {});
    }
    await allRunning();
    const unharmed = await quiet.stop();
    expect({ done, gaps: unharmed.gaps }).toEqual({ done, gaps: [] });

    // A dead datapath process loses frames until it has restarted and the agent has programmed it.
    const hurt = flood();
    for (const { name } of cluster.nodes) await kill(name, "l2tp-datapath");
    await allRunning();
    await cluster.pings("t1", "10.50.0.2");
    const { sent, received } = await hurt.stop();
    expect(received).toBeLessThan(sent);
    expect(received).toBeGreaterThan(0);
    console.log(
      `${done.join(", ")}: ${unharmed.sent} pings, none lost; both datapaths killed: ${sent - received} of ${sent} lost`,
    );
    await cluster.rolledOut();
    await allProgrammed();
  });

  it("handles objects and pods that are created and deleted in any order", async () => {
    const dice = new Random(2);
    const all = [...pods, ...objects] as KubeObject[];
    for (let round = 0; round < 3; round++) {
      const order = [...all].sort(() => dice.below(3) - 1);
      for (const { kind = "", metadata } of order) {
        await cluster.delete(kind, metadata.name, metadata.namespace);
      }
      for (const object of order.reverse()) {
        const { kind = "", metadata } = object;
        await cluster.gone(kind, metadata.name, metadata.namespace);
        await cluster.apply(object);
      }
    }
    await cluster.podRuns("t1");
    await cluster.podRuns("t2");
    await cluster.pings("t1", "10.50.0.2");
    await allProgrammed();
  });
});

describe.skipIf(isForeign)("a node that dies", () => {
  it("does not block deletions, and cleans up when it returns", async () => {
    const onN2 = objects.filter(({ metadata }) => metadata.name.match(/(-b|^ba-\d+)$/));
    await kubeCluster("kill-node", "n2");
    for (const object of onN2) {
      await cluster.condition(object, "Programmed", "Unknown", "NodeNotReady");
    }
    await cluster.kubectl("delete", "node", "n2");
    await cluster.remove(...onN2);
    await until("an Event says so", async () => {
      const events = await Promise.all(
        onN2.map(({ metadata }) => cluster.eventsOf(metadata.name, "default")),
      );
      return events.flat().join("\n").includes("the node is no longer in the cluster");
    });
    await kubeCluster("restart-node", "n2");
    await until("n2 has joined again", () => cluster.kubectl("get", "node", "n2"), 60_000);
    await cluster.kubectl("wait", "--for=condition=Ready", "node/n2", "--timeout=120s");
    await cluster.rolledOut();
    await until("n2 is clean", async () => {
      expect(await cluster.ctl<object[]>("n2", "sessions")).toEqual([]);
      return (await cluster.devices("n2")).length === 0;
    });
  });
});

describe.skipIf(isForeign)("the end", () => {
  it("leaves nothing behind", async () => {
    await cluster.remove(...pods, ...objects);
    for (const { name } of cluster.nodes) {
      await until(
        `${name} is clean`,
        async () => {
          expect(await cluster.devices(name)).toEqual([]);
          const files = "ls /var/lib/l2tp-cni/attachments /run/l2tp-cni/deferred 2>/dev/null";
          const left = await cluster.onNode(name, "sh", "-c", `${files} | grep json || true`);
          expect(left).toBe("");
          return true;
        },
        60_000,
      );
    }
    const left = await cluster.client.get<{ items: Reported[] }>(
      "/apis/l2tp.dev/v1alpha1/l2tpsessions",
    );
    expect(left.items).toEqual([]);
    // Other plugins allocated the addresses of the pods' first interfaces, but our plugin is in the DEL of their list.
    for (const { name } of cluster.nodes) {
      await until(
        `the leases of ${name} are those of its pods`,
        async () => {
          const leases = await cluster.onNode(name, "sh", "-c", "ls /var/lib/cni/networks/bridge");
          const addresses = leases.split("\n").filter((line) => /^\d+\./.test(line));
          const list = await cluster.client.get<{ items: Reported[] }>("/api/v1/pods", {
            fieldSelector: `spec.nodeName=${name}`,
          });
          const inUse = list.items.map(({ status }) => status?.podIP);
          return addresses.every((address) => inUse.includes(address));
        },
        60_000,
      );
    }
  });
});
