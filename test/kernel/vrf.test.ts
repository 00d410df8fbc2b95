/** Static and managed tunnels of a node with its underlay in a VRF, over each encapsulation and IP version. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { type Host, ip, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const VRF = "red";
const TABLE = "1010";

let net: TestNet;
let agent: TestAgent;
/** The peer of managed tunnels. The peer of static tunnels is the far host's kernel. */
let peer: TestAgent;

interface Static {
  readonly name: string;
  readonly number: number;
  readonly family: "ipv4" | "ipv6";
  readonly encapsulation: "UDP" | "IP";
  readonly spec: Partial<TunnelSpec>;
  readonly isByInterface?: boolean;
  /** The expected datapath. */
  readonly datapath: "Kernel" | "Userspace";
}

const AUTO = { datapath: "Auto" } as const;
const OURS = { datapath: "Userspace" } as const;
const STATIC: readonly Static[] = [
  { name: "udp4", family: "ipv4", encapsulation: "UDP", spec: AUTO, datapath: "Kernel" },
  { name: "udp6", family: "ipv6", encapsulation: "UDP", spec: AUTO, datapath: "Kernel" },
  { name: "ip4", family: "ipv4", encapsulation: "IP", spec: AUTO, datapath: "Userspace" },
  { name: "ip6", family: "ipv6", encapsulation: "IP", spec: AUTO, datapath: "Userspace" },
  { name: "own4", family: "ipv4", encapsulation: "UDP", spec: OURS, datapath: "Userspace" },
  { name: "own6", family: "ipv6", encapsulation: "UDP", spec: OURS, datapath: "Userspace" },
  {
    ...{ name: "wire4", family: "ipv4", encapsulation: "UDP", spec: AUTO, datapath: "Kernel" },
    isByInterface: true,
  },
].map((item, index) => ({ ...(item as Omit<Static, "number">), number: index + 1 }));

const portOf = ({ number }: Static) => 5000 + number;

function staticObjects(item: Static, local: Host, remote: Host): object[] {
  const { name, number, family, encapsulation, spec, isByInterface } = item;
  const port = encapsulation === "UDP" ? { port: portOf(item) } : {};
  const end = isByInterface ? { interface: local.device } : { address: local[family] };
  return [
    tunnelObject(name, local, remote, {
      ...{ encapsulation, tunnelId: number, peerTunnelId: number },
      local: { ...end, ...port },
      remote: { address: remote[family], ...port },
      ...spec,
    }),
    sessionObject(name, name, { sessionId: 100 + number, peerSessionId: 100 + number }),
  ];
}

async function addPeer(item: Static): Promise<void> {
  const { name, number, family, encapsulation } = item;
  await addKernelPeer(net.b, net.a, {
    ...{ encapsulation, ipVersion: family === "ipv4" ? 4 : 6, name: `far-${name}` },
    ...{ tunnelId: number, peerTunnelId: number, port: portOf(item), remotePort: portOf(item) },
    ...{ sessionId: 100 + number, peerSessionId: 100 + number, address: `10.${number}.0.2/24` },
  });
}

const MANAGED = [
  { name: "control4", family: "ipv4", spec: { datapath: "Kernel" }, number: 21 },
  { name: "control6", family: "ipv6", spec: { datapath: "Userspace" }, number: 22 },
  { name: "raw4", family: "ipv4", spec: { encapsulation: "IP" }, number: 23 },
] as const;

function managedObjects(local: Host, remote: Host, isNear: boolean): object[] {
  return MANAGED.flatMap(({ name, family, spec }) => [
    managedTunnel(
      name,
      local,
      remote,
      { initiate: isNear },
      {
        ...{ local: { address: local[family] }, remote: { address: remote[family] } },
        ...(isNear ? spec : { ...spec, datapath: "Userspace" }),
      },
    ),
    managedSession(name, name),
  ]);
}

/** Moves the underlay device into a VRF, and restores the addresses that the kernel deletes (vrf_cycle_netdev). */
async function putIntoVrf(host: Host): Promise<void> {
  await ip(host.name, "link", "add", VRF, "type", "vrf", "table", TABLE);
  await ip(host.name, "link", "set", VRF, "up");
  await ip(host.name, "link", "set", host.device, "master", VRF);
  await tryRun(["ip", "-n", host.name, "addr", "add", `${host.ipv4}/24`, "dev", host.device]);
  const six = [`${host.ipv6}/64`, "dev", host.device, "nodad"];
  await tryRun(["ip", "-n", host.name, "addr", "add", ...six]);
}

const pods = new Map<string, string>();

async function attach(at: TestAgent, session: string, address: string): Promise<string> {
  const netns = await net.addPod(`${at === agent ? "n" : "f"}-${session}`);
  const config = {
    ...{ cniVersion: "1.0.0", name: "vrf", type: "l2tp", session: `shop/${session}` },
    ...{ socket: at.socket, runtimeConfig: { ips: [address] } },
  };
  // A managed session is in the kernel once it is established.
  await until(`ADD of ${session} succeeds`, async () => {
    const answer = await cni(at.host, { command: "ADD", netns, config, containerId: session });
    if (answer.status !== 0) throw new Error(answer.stdout);
    return true;
  });
  return netns;
}

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  await putIntoVrf(net.a);
  agent = new TestAgent(net.a);
  peer = new TestAgent(net.b);
  for (const item of STATIC) await addPeer(item);
  peer.write("all.yaml", managedObjects(net.b, net.a, false));
  agent.write("all.yaml", [
    ...STATIC.flatMap((item) => staticObjects(item, net.a, net.b)),
    ...managedObjects(net.a, net.b, true),
  ]);
  await peer.start();
  await agent.start();
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(agent.log, peer.log);
});

afterAll(async () => {
  for (const each of [agent, peer]) await each.teardownOrKill().finally(() => each.destroy());
  await tryRun(["ip", "-n", net.a.name, "link", "del", VRF]);
  await net.remove();
});

describe("an address in a VRF", () => {
  it.each(STATIC)("serves static tunnel $name, with datapath $datapath", async (item) => {
    const { name, number, datapath, encapsulation, spec } = item;
    const rows = await agent.ask({ op: "tunnels" });
    expect(rows.find((row) => row.name === name)?.datapath).toBe(datapath);
    const pod = await attach(agent, name, `10.${number}.0.1/24`);
    pods.set(name, pod);
    await until("frames cross", () => ping(pod, `10.${number}.0.2`));
    const programmed = agent.condition("l2tptunnel", name, "Programmed");
    expect(programmed?.status).toBe("True");
    if (spec === AUTO && encapsulation === "IP") {
      expect(programmed?.message).toContain("the kernel's L2TP over IP cannot be bound to red");
    }
  });

  it.each(MANAGED)("serves managed tunnel $name", async ({ name, number }) => {
    const far = await attach(peer, name, `10.${number}.0.2/24`);
    const pod = await attach(agent, name, `10.${number}.0.1/24`);
    await until("frames cross", () => ping(pod, `10.${number}.0.2`));
    expect(far).toBeDefined();
  });

  it("keeps its tunnels over a restart of agent and datapath process", async () => {
    await agent.kill();
    process.kill(await agent.datapathPid(), "SIGKILL");
    await agent.start();
    for (const { name, number } of STATIC) {
      const pod = pods.get(name) ?? "";
      await until(`frames of ${name} cross`, () => ping(pod, `10.${number}.0.2`));
    }
  });

  it("is reported when deleted, and serves the tunnels again when restored", async () => {
    const programmed = (name: string) => agent.condition("l2tptunnel", name, "Programmed");
    await ip(net.a.name, "addr", "del", `${net.a.ipv4}/24`, "dev", net.a.device);
    for (const name of ["udp4", "own4"]) {
      await until(
        `the condition of ${name} reports it`,
        () => programmed(name)?.reason === "AddressNotAvailable",
      );
      expect(programmed(name)?.message).toContain(`${net.a.ipv4} in red`);
    }
    await ip(net.a.name, "addr", "add", `${net.a.ipv4}/24`, "dev", net.a.device);
    for (const name of ["udp4", "own4", "wire4"]) {
      const number = STATIC.find((item) => item.name === name)?.number;
      await until(`frames of ${name} cross`, () => ping(pods.get(name) ?? "", `10.${number}.0.2`));
    }
  });

  it("is refused with a reason for datapath Kernel over IP", async () => {
    const item = STATIC.find(({ name }) => name === "ip4") as Static;
    const kernel = { ...item, name: "asked", number: 60, spec: { datapath: "Kernel" } as const };
    agent.write("asked.yaml", staticObjects(kernel, net.a, net.b));
    await until("the condition reports it", () => {
      const programmed = agent.condition("l2tptunnel", "asked", "Programmed");
      return programmed?.message.includes("the kernel's L2TP over IP cannot be bound to red");
    });
    agent.remove("asked.yaml");
  });

  it("disables the fast path, with a reason", async () => {
    const item = STATIC.find(({ name }) => name === "own4") as Static;
    const fast = { datapath: "Userspace", udpChecksum: false, fastPath: true } as const;
    const kind = { ...item, name: "fast", number: 61, spec: fast };
    agent.write("fast.yaml", staticObjects(kind, net.a, net.b));
    await until("the condition reports it", () => {
      const programmed = agent.condition("l2tptunnel", "fast", "Programmed");
      return programmed?.message.includes("does not use the fast path: its socket is bound to red");
    });
    agent.remove("fast.yaml");
  });
});
