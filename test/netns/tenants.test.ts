/**
 * Two tenants request the same Remote End ID: the first gets it, and keeps it over reboots and failures of the node.
 * Runs again inside the virtual machine, with the kernel datapath.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, ip, ping, TestNet } from "../harness/net.ts";
import { managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

const DATAPATH = process.env.L2TP_TEST_DATAPATH === "Kernel" ? { datapath: "Kernel" as const } : {};
const FIRST_START_MS = 240_000;
const HELLO = { interval: "1s", deadAfter: "4s" };
/** The second tenant is the first by name. */
type Tenant = "shop" | "bakery";

let net: TestNet;
let agents: [TestAgent, TestAgent];
let us: TestAgent;
/** The pods of both ends of each tenant. */
const pods = new Map<string, string>();

const session = (namespace: Tenant, more: object = {}) => ({
  apiVersion: "l2tp.dev/v1alpha1",
  kind: "L2tpSession",
  metadata: { name: "lan", namespace },
  spec: { tunnelRef: { name: "branch" }, ...more },
});
const tunnelOf = (local: Host, remote: Host, control: object) =>
  managedTunnel("branch", local, remote, { hello: HELLO, ...control }, DATAPATH);

const condition = (tenant: Tenant, type: string) =>
  us.condition("l2tpsession", `${tenant}/lan`, type);
const isRefused = (tenant: Tenant) =>
  until(`the session of ${tenant} is refused`, () => {
    const { reason, message } = condition(tenant, "Accepted") ?? {};
    return reason === "Conflict" && message;
  });
const isUp = (tenant: Tenant) =>
  until(
    `the session of ${tenant} is established`,
    () => condition(tenant, "Established")?.status === "True",
  );

async function attach(index: 0 | 1, tenant: Tenant): Promise<void> {
  const agent = agents[index];
  const name = `${tenant}-${index}`;
  const netns = pods.get(name) ?? (await net.addPod(name));
  pods.set(name, netns);
  const ips = [`10.${tenant === "shop" ? 1 : 2}.0.${index + 1}/24`];
  const rest = { socket: agent.socket, session: "lan", runtimeConfig: { ips } };
  const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
  const call = { command: "ADD", netns, config, pod: `${tenant}/web`, containerId: name };
  await until("the pod has its interface", async () => (await cni(agent.host, call)).status === 0);
}

const crosses = (tenant: Tenant) =>
  until(`frames of ${tenant} cross`, () =>
    ping(pods.get(`${tenant}-0`) ?? "", `10.${tenant === "shop" ? 1 : 2}.0.2`),
  );

/** Simulates a reboot: only files remain. */
async function lose(agent: TestAgent): Promise<void> {
  const pid = await agent.datapathPid();
  await agent.kill();
  process.kill(pid, "SIGKILL");
}

async function reboot(change: () => unknown = () => {}): Promise<void> {
  await lose(us);
  await change();
  await us.start();
}

/** The first start compiles the agent's modules, which is slow on an emulated machine. */
async function firstStart(agent: TestAgent): Promise<void> {
  agent.launch();
  const isReady = () => agent.ask({ op: "ready" }).then(() => true);
  await until("the agent is ready", isReady, FIRST_START_MS).catch((error) => {
    throw new Error(`${error}\n${agent.log}`, { cause: error });
  });
}

beforeAll(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  [us] = agents;
  const [, peer] = agents;
  us.write("tunnel.yaml", [tunnelOf(net.a, net.b, {})]);
  us.write("shop.yaml", [session("shop", { remoteEndId: "42" })]);
  peer.write("tunnel.yaml", [tunnelOf(net.b, net.a, { initiate: false, role: "LNS" })]);
  peer.write("shop.yaml", [session("shop", { remoteEndId: "42" })]);
  for (const agent of agents) await firstStart(agent);
  await attach(1, "shop");
  await attach(0, "shop");
}, 3 * FIRST_START_MS);

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
});

afterAll(async () => {
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

it("gives a Remote End ID to the first session, and reports the holder to the other", async () => {
  await crosses("shop");
  us.write("bakery.yaml", [session("bakery", { remoteEndId: "42" })]);
  expect(await isRefused("bakery")).toContain(
    'spec.remoteEndId: "42": already used by L2tpSession shop/lan',
  );
  await isUp("shop");
  await crosses("shop");
});

it.each<[string, () => unknown]>([
  ["a reboot", () => {}],
  ["a reboot with the underlay down", () => ip(net.a.name, "link", "set", net.a.device, "down")],
  [
    "a reboot with an invalid manifest",
    () => us.write("shop.yaml", [session("shop", { remoteEndId: "42", mtu: 1 })]),
  ],
  ["a reboot with a file that is not YAML", () => us.write("shop.yaml", "{")],
])("leaves the Remote End ID to its holder over %s", async (_what, change) => {
  await reboot(change);
  await isRefused("bakery");
  await ip(net.a.name, "link", "set", net.a.device, "up");
  await ip(net.a.name, "addr", "replace", `${net.a.ipv6}/64`, "dev", net.a.device, "nodad");
  us.write("shop.yaml", [session("shop", { remoteEndId: "42" })]);
  await crosses("shop");
  await isUp("shop");
  await isRefused("bakery");
});

it("leaves the Remote End ID to its holder when the agent loses its state, and frames cross", async () => {
  await us.kill();
  for (const name of ["held.json", "status"]) rmSync(join(us.state, name), { recursive: true });
  await us.start();
  await isRefused("bakery");
  await crosses("shop");
});

it("leaves the Remote End ID to its holder when other fields of its manifest change", async () => {
  us.write("shop.yaml", [session("shop", { remoteEndId: "42", mtu: 1400 })]);
  await until("the session is changed", async () => (await us.session("shop/lan"))?.mtu === 1400);
  await crosses("shop");
  await isRefused("bakery");
});

it("gives the Remote End ID to the other session when its holder is deleted", async () => {
  us.remove("shop.yaml");
  await isUp("bakery");
  us.write("shop.yaml", [session("shop", { remoteEndId: "42" })]);
  await isRefused("shop");
});

it("gives two sessions of one name different default Remote End IDs", async () => {
  // A session's Remote End ID is chosen when the session is accepted.
  for (const agent of agents) {
    for (const tenant of ["shop", "bakery"]) agent.write(`${tenant}.yaml`, "---");
  }
  for (const agent of agents) {
    await until(
      "the sessions are deleted",
      async () => (await agent.ask({ op: "sessions" })).length === 0,
    );
    for (const tenant of ["shop", "bakery"] as const) {
      agent.write(`${tenant}.yaml`, [session(tenant)]);
    }
  }
  for (const tenant of ["shop", "bakery"] as const) {
    for (const index of [1, 0] as const) await attach(index, tenant);
    await crosses(tenant);
  }
  const { control } = (await us.session("bakery/lan")) ?? {};
  expect(control?.phase).toBe("established");
});

it("keeps the default without a namespace of sessions that an old agent accepted", async () => {
  const [, peer] = agents;
  peer.write("shop.yaml", [session("shop", { remoteEndId: "lan" })]);
  const conditions = [
    { type: "Accepted", status: "True", lastTransitionTime: "2026-01-01T00:00:00Z" },
  ];
  await reboot(() => {
    const metadata = { name: "lan", namespace: "shop", generation: 1 };
    const file = { kind: "L2tpSession", metadata, status: { conditions } };
    const path = join(us.state, "status", "l2tpsession.shop.lan.json");
    writeFileSync(path, JSON.stringify(file));
    rmSync(join(us.state, "held.json"));
  });
  await crosses("shop");
  await reboot();
  await crosses("shop");
});

it("lets no tenant send into another tenant's session at the peer", async () => {
  const wan = tunnelObject("wan", net.a, net.b, { ...DATAPATH, tunnelId: 77 });
  const first = sessionObject("wan", "wan", {}, "shop");
  const second = sessionObject("wan", "wan", { sessionId: 129 }, "bakery");
  const accepted = (tenant: Tenant) => us.condition("l2tpsession", `${tenant}/wan`, "Accepted");
  us.write("wan.yaml", [wan, first]);
  await until("the first is accepted", () => accepted("shop")?.status === "True");
  us.write("wan.yaml", [wan, second, first]);
  await until("the other is refused", () => accepted("bakery")?.reason === "Conflict");
  await reboot();
  await until("the other is still refused", () => accepted("bakery")?.reason === "Conflict");
  expect(accepted("bakery")?.message).toContain(
    "spec.peerSessionId: 128: already used by L2tpSession shop/wan",
  );
  expect(accepted("shop")?.status).toBe("True");
});
