/**
 * Adds a fourth datapath with one file and its entry in the registry. As in the kernel, devices are created with
 * sessions; the datapath process forwards the frames. So frames also test the other branches of the plan.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { SourceTree } from "../harness/tree.ts";

const REGISTRY = "datapath/registry/datapaths.ts";
const CRD = "crds/l2tptunnels.yaml";

const MADE_UP = `/** A test datapath: the process forwards frames, and devices are created and deleted with sessions. */
import { sameData } from "../../l2tp/same-data.ts";
import type { DatapathTraits } from "../../model/datapath.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { Change, Datapath, DumpEntry, Listing } from "../datapath.ts";
import type { Registered } from "../registry/datapaths.ts";
import { ProcessView } from "../userspace/process-view.ts";
import { USERSPACE } from "../userspace/traits.ts";

const BORN: DatapathTraits = {
  ...USERSPACE,
  name: "Born",
  apiName: "Born",
  label: "the made-up datapath",
  deviceName: ({ sessionId }) => \`born-\${sessionId}\`,
  makesDevices: true,
  sessionsOutliveDevices: false,
  sessionsNeedTunnel: true,
  tunnelDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "replace"),
  sessionDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "replace"),
  whyNot: (_tunnel, { isOpen }) => (isOpen ? "it is made up" : null),
};

class BornDatapath implements Datapath {
  readonly traits = BORN;
  readonly #process: ProcessView;
  #listed: Listing = { tunnels: [], sessions: [] };

  constructor(process: ProcessView) {
    this.#process = process;
  }

  async list(): Promise<Listing> {
    this.#listed = await this.#process.list();
    return this.#listed;
  }

  peek(): Promise<Listing> {
    return this.#process.list();
  }

  find({ key }: { readonly key: string }): Promise<Listing> {
    return this.#process.listSession(key);
  }

  async apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    const replies: Reply<null>[] = [];
    for (const change of changes) {
      const made = await this.#process.apply(this.#withDevices(change));
      replies.push(made.find((reply) => "error" in reply) ?? { result: null });
    }
    return replies;
  }

  dump(): readonly DumpEntry[] {
    return [];
  }

  close(): void {}

  #withDevices(change: Change): Change[] {
    if (change.op === "deleteSession") return [{ op: "deleteDevice", key: change.key }, change];
    if (change.op !== "deleteTunnel") return [change];
    const keys = this.#listed.sessions.flatMap(({ session: { key, tunnel } }) =>
      tunnel === change.name ? [key] : [],
    );
    return [...keys.map((key): Change => ({ op: "deleteDevice", key })), change];
  }
}

export const MADE_UP: Registered = {
  traits: BORN,
  open: async ({ process }) => new BornDatapath(new ProcessView(process, "born")),
};
`;

/** A test that runs in the copy, by the copy's harness and programs. */
const FRAMES = `import { afterAll, beforeAll, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { ip, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];

const write = (change: object) => {
  const [a, b] = agents;
  const lan = sessionObject("lan", "branch", change);
  a.write("all.yaml", [tunnelObject("branch", net.a, net.b, { datapath: "Born" }), lan]);
  b.write("all.yaml", [tunnelObject("branch", net.b, net.a), sessionObject("lan", "branch")]);
};
const call = (command: string, end: 0 | 1) => {
  const { host, socket } = agents[end];
  const rest = { socket, runtimeConfig: { ips: [\`10.1.0.\${end + 1}/24\`] } };
  const config = { cniVersion: "1.0.0", name: "branch", type: "l2tp", session: "shop/lan", ...rest };
  return cni(host, { command, netns: pods[end], config });
};
const crosses = () => until("frames cross", () => ping(pods[0], "10.1.0.2"));
const onNode = () => link(net.a.name, "born-128");

beforeAll(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  write({});
  await Promise.all(agents.map((agent) => agent.start()));
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterAll(async () => {
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

it("has a device on the node before a pod attaches", async () => {
  await until("the device is created", onNode);
  const programmed = () => agents[0].condition("l2tptunnel", "branch", "Programmed")?.message;
  expect(programmed()).toBe("Programmed in the made-up datapath.");
});

it("forwards frames between two pods", async () => {
  for (const end of [0, 1] as const) expect((await call("ADD", end)).status).toBe(0);
  await crosses();
  expect(await onNode()).toBeUndefined();
  const [row] = await agents[0].ask({ op: "tunnels" });
  expect(row?.datapath).toBe("Born");
});

it("replaces the device when the session changes, and the pod gets an equal one", async () => {
  const before = await link(pods[0], "net1");
  write({ mtu: 1400 });
  await until("the device is replaced", async () => {
    const now = await link(pods[0], "net1");
    return now !== undefined && now.ifindex !== before?.ifindex && now.mtu === 1400;
  });
  await crosses();
  expect((await link(pods[0], "net1"))?.address).toBe(before?.address);
});

it("recreates the device after a crash of the process, and returns it to the node after DEL", async () => {
  process.kill(await agents[0].datapathPid(), "SIGKILL");
  await crosses();
  expect((await call("DEL", 0)).status).toBe(0);
  await until("the device is on the node", onNode);
});

it("deletes the device with the session", async () => {
  agents[0].remove("all.yaml");
  await until("the device is deleted", async () => (await onNode()) === undefined);
  expect(await ip(net.a.name, "-o", "link")).not.toContain("born-");
});
`;

let tree: SourceTree;

beforeAll(() => {
  tree = new SourceTree();
  tree.add("datapath/made-up/datapath.ts", MADE_UP);
  tree.replace(
    REGISTRY,
    "const DATAPATHS: readonly Registered[] = [\n",
    "const DATAPATHS: readonly Registered[] = [\n  MADE_UP,\n",
  );
  tree.replace(
    REGISTRY,
    "import { USERSPACE }",
    'import { MADE_UP } from "../made-up/datapath.ts";\nimport { USERSPACE }',
  );
  tree.replace(CRD, "enum: [Auto, Kernel, Userspace]", "enum: [Auto, Kernel, Userspace, Born]");
  tree.replace(CRD, "enum: [Kernel, Userspace]", "enum: [Kernel, Userspace, Born]");
  tree.run("node", "test/setup/generate.ts");
});

afterAll(() => tree.remove());

it("compiles with one added file", () => {
  tree.run("tsc", "-p", ".");
});

it("is included in the plan's property test", () => {
  expect(tree.run("vitest", "run", "--project", "unit", "model/plan.test.ts")).toContain("passed");
});

it("forwards frames", () => {
  tree.add("test/netns/made-up.test.ts", FRAMES);
  const output = tree.run("vitest", "run", "--project", "netns", "test/netns/made-up.test.ts");
  expect(output).toContain("passed");
});
