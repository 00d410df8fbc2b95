/** Requests to an agent that has not read its objects yet: they wait, and are not rejected. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inNetns } from "../../linux/netns.ts";
import type { AgentRequest } from "../../operator/agent-protocol.ts";
import { RpcClient } from "../../rpc/client.ts";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni } from "../harness/cni.ts";
import { inside, link, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, stop } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/l2tp-agent", import.meta.url));

let net: TestNet;
let agent: TestAgent;
let pod: string;

beforeEach(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  pod = await net.addPod("pod");
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  await agent.destroy();
  await net.remove();
});

const config = (session: string, more: object = {}) => ({
  cniVersion: "1.1.0",
  name: "branch",
  type: "l2tp",
  session: `shop/${session}`,
  socket: agent.socket,
  ...more,
});

function call(command: string, session = "lan", more: object = {}): Promise<CniAnswer> {
  const netns = command === "GC" || command === "STATUS" ? "" : pod;
  return cni(net.a, { command, netns, config: config(session, more) });
}

const statusOf = ({ status, stdout }: CniAnswer) => (status === 0 ? 0 : stdout);
const attachment = { containerId: "c1", cniIfname: "net1" };
const isThere = async () => (await link(pod, "net1")) !== undefined;

/** Sends a request as soon as the agent listens. */
async function askEarly(request: AgentRequest): Promise<unknown> {
  const client = await until("the agent listens", () =>
    RpcClient.connect(agent.socket, 1_000_000, 1000),
  );
  try {
    return await client.request(request, 60_000);
  } finally {
    client.close();
  }
}

describe("with a folder", () => {
  beforeEach(() => {
    agent.write("all.yaml", [tunnelObject("branch", net.a, net.b), sessionObject("lan", "branch")]);
  });

  it("an ADD succeeds", async () => {
    agent.launch();
    const request = { op: "attach" as const, ...attachment, ifname: "net1", netns: pod };
    const rest = { session: "shop/lan", pod: null, network: "branch", mac: null };
    const none = { addresses: [], routes: [], ipam: null };
    const answer = await askEarly({ ...request, ...rest, ...none });
    expect(answer).toMatchObject({ isComplete: true });
    expect(await isThere()).toBe(true);
  });

  it.each<[string, AgentRequest, unknown, boolean]>([
    ["STATUS", { op: "ready" }, null, true],
    ["CHECK", { op: "check", ...attachment, addresses: [], destinations: [] }, ["net1"], true],
    ["DEL", { op: "detach", ...attachment, netns: null }, null, false],
    ["GC", { op: "gc", network: "branch", valid: [], before: "2999-01-01T00:00:00Z" }, null, false],
  ])("%s is answered as usual", async (_name, request, expected, stays) => {
    await agent.start();
    expect(statusOf(await call("ADD"))).toBe(0);
    await agent.kill();
    agent.launch();
    expect(await askEarly(request)).toEqual(expected);
    expect(await isThere()).toBe(stays);
    // The agent has learned of another pod's session through it.
    expect((await agent.session("shop/lan"))?.attachedTo).toHaveLength(stays ? 1 : 0);
  });
});

describe("on a cluster", () => {
  let server: Server;
  let log: string;
  /** Responses that the API server withholds; null: it answers at once. */
  let held: (() => void)[] | null;
  let objects: object[];
  const background = new Background();
  let running: ReturnType<Background["start"]>;

  beforeEach(() => {
    objects = [accepted(tunnelObject("branch", net.a, net.b)), session("lan", 128)];
    held = [];
    log = "";
    server = createServer(({ url = "", method }, response) => {
      const { pathname, searchParams } = new URL(url, "http://server");
      if (method !== "GET") return json(response, {});
      if (searchParams.has("watch")) return void response.flushHeaders();
      const answer = () => json(response, listOf(pathname));
      if (held === null) answer();
      else held.push(answer);
    });
    // Without a host name, listen() binds synchronously.
    inNetns(net.a.netns, () => server.listen(0));
    const { port } = server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}`;
    const cluster = { server: url, "insecure-skip-tls-verify": true };
    writeFileSync(
      join(agent.folder, "kubeconfig"),
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "x",
        clusters: [{ name: "x", cluster }],
        users: [{ name: "x", user: { token: "t" } }],
        contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
      }),
    );
  });

  afterEach(async () => {
    await background.stopAll();
    server.closeAllConnections();
    server.close();
  });

  /** The object as the controller accepts it for host a. */
  function accepted(object: object): object {
    const { metadata, ...rest } = object as { metadata: object };
    const condition = { type: "Accepted", status: "True", reason: "Valid", message: "" };
    const times = { observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z" };
    return {
      ...rest,
      metadata: { ...metadata, uid: JSON.stringify(metadata), generation: 1, resourceVersion: "1" },
      status: { nodeName: net.a.name, conditions: [{ ...condition, ...times }] },
    };
  }

  const session = (name: string, id: number) =>
    accepted(sessionObject(name, "branch", { sessionId: id, peerSessionId: id }));

  function listOf(path: string): object {
    const kind = path.endsWith("l2tptunnels") ? "L2tpTunnel" : "L2tpSession";
    const items = objects.filter((object) => (object as { kind: string }).kind === kind);
    return { metadata: { resourceVersion: "1" }, items };
  }

  function json(response: ServerResponse, body: object): void {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  async function start(): Promise<void> {
    const folders = ["--state-dir", agent.state, "--socket", agent.socket, "--resync", "1"];
    const config = ["--kubeconfig", join(agent.folder, "kubeconfig"), "--node", net.a.name];
    const command = inside(net.a.name, PROGRAM, ...config, ...folders, "--datapath", "userspace");
    running = background.start(command, (text) => {
      log += text;
    });
    await until(
      () => `the agent listens: ${log}`,
      () => existsSync(agent.socket) && log.includes("reading objects from the API server"),
    );
  }

  const asksForBoth = () => until("both lists are requested", () => held?.length === 2);

  function release(): void {
    for (const answer of held ?? []) answer();
    held = null;
  }

  it("an ADD waits for the API server", async () => {
    await start();
    await asksForBoth();
    const added = call("ADD");
    await until("the agent has the connection", async () => (await connections()) > 0);
    release();
    expect(statusOf(await added)).toBe(0);
    expect(await isThere()).toBe(true);
  });

  it("an ADD waits for a session created while the agent was down, and for no other", async () => {
    held = null;
    await start();
    expect(statusOf(await call("ADD"))).toBe(0);
    expect(statusOf(await call("DEL"))).toBe(0);
    await stop(running);
    held = [];
    log = "";
    objects.push(session("new", 129));
    await start();
    await asksForBoth();
    expect(statusOf(await call("ADD"))).toBe(0);
    expect(statusOf(await call("DEL"))).toBe(0);
    const added = call("ADD", "new");
    await until("the agent has the connection", async () => (await connections()) > 0);
    release();
    expect(statusOf(await added)).toBe(0);
  });

  it("an ADD fails in time if the API server does not answer, and a DEL is deferred", async () => {
    await start();
    const [added, deleted] = await Promise.all([call("ADD"), call("DEL")]);
    expect(added.json).toMatchObject({
      code: 11,
      msg: "agent not ready: objects not loaded: no answer from the API server yet; try again",
    });
    expect(statusOf(deleted)).toBe(0);
    const folder = join(agent.folder, "run", "deferred");
    expect(readdirSync(folder)).toHaveLength(1);
    release();
    await until("the DEL is carried out", () => readdirSync(folder).length === 0);
  });

  /** Counts the connections of the agent's socket, without the listening socket. */
  async function connections(): Promise<number> {
    const { readFile } = await import("node:fs/promises");
    const table = await readFile(`/proc/${running.pid}/net/unix`, "utf8");
    return table.split("\n").filter((line) => line.endsWith(agent.socket)).length - 1;
  }
});
