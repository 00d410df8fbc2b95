/** A chained plugin without its agent: pods without sessions start, and the node stays ready. */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { chainedPlugin } from "../../operator/install/conflist.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { link, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

const ANNOTATIONS = "io.kubernetes.cri.pod-annotations";
const prevResult = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/x" }],
  ips: [{ interface: 0, address: "10.0.0.5/24" }],
};
const annotated = (annotation: Record<string, string>) => ({
  prevResult,
  runtimeConfig: { [ANNOTATIONS]: annotation },
});

const isKernel = process.env.KERNEL_VM !== undefined;

let net: TestNet;
let agent: TestAgent;
let netns: string;

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: isKernel });
  agent = new TestAgent(net.a);
  agent.write("branch.yaml", [
    tunnelObject("branch", net.a, net.b),
    sessionObject("lan", "branch"),
  ]);
  netns = await net.addPod("pod");
  await agent.start();
});

afterAll(async () => {
  await agent?.teardownOrKill();
  await agent?.destroy();
  await net?.remove();
});

/** Calls the plugin with the configuration that the installer writes. */
const call = (command: string, more: object = {}) =>
  cni(net.a, {
    command,
    netns,
    ifname: "eth0",
    pod: "shop/web-0",
    config: { cniVersion: "1.1.0", name: "node", ...chainedPlugin(agent.socket), ...more },
  });

/** Deferred requests. */
const notes = () =>
  readdirSync(dirname(agent.socket), { recursive: true, encoding: "utf8" }).filter((file) =>
    /\/\d+-[^/]*\.json$/.test(file),
  );

const OK = { status: 0 };
const failure = (code: number) => ({ status: 1, json: { code } });

/** All commands succeed for a pod without sessions. */
async function servesPodsThatAskForNothing(more: object = {}): Promise<void> {
  expect(await call("STATUS", more)).toMatchObject({ ...OK, stdout: "" });
  const added = await call("ADD", { ...annotated({}), ...more });
  expect(added).toMatchObject({ ...OK, json: prevResult });
  expect(await call("CHECK", { ...annotated({}), ...more })).toMatchObject(OK);
  expect(await call("DEL", { ...annotated({}), ...more })).toMatchObject(OK);
}

describe("a chained plugin", () => {
  afterEach(async () => {
    await agent.kill();
    await agent.start();
  });

  it("serves pods without sessions while the agent is down", async () => {
    await agent.kill();
    await servesPodsThatAskForNothing();
    // A node whose agent is removed for good would keep deferred requests forever.
    expect(notes()).toEqual([]);
    expect(await call("DEL", { prevResult })).toMatchObject(OK);
    expect(notes()).toHaveLength(1);
  });

  it("serves pods without sessions on a node that never had an agent", async () => {
    const folder = mkdtempSync(join(tmpdir(), "never-"));
    try {
      await servesPodsThatAskForNothing({ socket: join(folder, "run", "agent.sock") });
      expect(readdirSync(folder)).toEqual([]);
      // Any user can create a socket there: the plugin must neither use it nor fail.
      chmodSync(folder, 0o777);
      const socket = join(folder, "agent.sock");
      expect(await call("STATUS", { socket })).toMatchObject(OK);
      const added = await call("ADD", { ...annotated({}), socket });
      expect(added).toMatchObject({ ...OK, json: prevResult });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("answers STATUS while the agent hangs", async () => {
    process.kill(agent.pid(), "SIGSTOP");
    try {
      expect(await call("STATUS")).toMatchObject(OK);
      expect(await call("ADD", annotated({}))).toMatchObject({ ...OK, json: prevResult });
    } finally {
      process.kill(agent.pid(), "SIGCONT");
    }
  });

  // In the virtual machine the kernel is the datapath, and the agent starts no process for it.
  it.skipIf(isKernel)("serves pods without sessions while the datapath process hangs", async () => {
    const datapath = await agent.datapathPid();
    process.kill(datapath, "SIGSTOP");
    try {
      await servesPodsThatAskForNothing();
    } finally {
      process.kill(datapath, "SIGCONT");
    }
  });

  it("fails the ADD of a pod with a session, and succeeds when the agent is back", async () => {
    await agent.kill();
    const asked = annotated({ "l2tp.dev/sessions": "lan@net1" });
    expect(await call("ADD", asked)).toMatchObject(failure(11));
    expect(await call("CHECK", asked)).toMatchObject(failure(11));
    await agent.start();
    const added = await call("ADD", asked);
    expect(added).toMatchObject({ ...OK, json: { interfaces: [{}, { name: "net1" }] } });
    expect(await call("CHECK", { ...asked, prevResult: added.json })).toMatchObject(OK);
    await agent.kill();
    expect(await call("STATUS")).toMatchObject(OK);
    expect(await call("DEL", { ...asked, prevResult: added.json })).toMatchObject(OK);
    await agent.start();
    await until("the interface is deleted", async () => (await link(netns, "net1")) === undefined);
  });

  it("fails without the agent if the runtime passes no annotations", async () => {
    await agent.kill();
    expect(await call("ADD", { prevResult })).toMatchObject(failure(11));
    expect(await call("STATUS")).toMatchObject(OK);
  });
});

describe("STATUS without an agent", () => {
  beforeAll(() => agent.kill());
  afterAll(() => agent.start());

  const without = { capabilities: undefined };
  it.each<[string, object, object]>([
    ["no session: chained", without, OK],
    ["a session, and annotations: chained", { session: "lan" }, OK],
    [
      "a session, and a name for its interface: chained",
      { ...without, session: "lan", interface: "net7" },
      OK,
    ],
    ["a session alone: main", { ...without, session: "lan" }, failure(50)],
    ["a session and ipam: main", { session: "lan", ipam: { type: "static" } }, failure(50)],
    ["ipam alone: main, though incomplete", { ...without, ipam: { type: "static" } }, failure(50)],
  ])("%s", async (_form, config, answer) => {
    expect(await call("STATUS", config)).toMatchObject(answer);
  });
});
