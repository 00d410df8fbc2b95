/** Switches with one or both sessions in the kernel: tc redirects frames between their devices. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { type Host, ip, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import {
  type Middle,
  managedBy,
  middleOf,
  switchedSession,
  switchTo,
  variantTunnel,
} from "../harness/switch.ts";
import type { Variant } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const LEFT: Variant = { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" };
const RIGHT: Variant = { encapsulation: "IP", family: 6, cookieBytes: 4, sublayer: "None" };
const VLAN = 200;

let net: TestNet;
let c: Host;
let middle: Middle;
let agent: TestAgent;
const others: TestAgent[] = [];

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  c = await net.addHost();
  middle = middleOf(net);
  agent = new TestAgent(net.a);
  const ids = (tunnel: number, session: number) => ({
    ...{ tunnelId: tunnel, peerTunnelId: tunnel },
    ...{ sessionId: session + 1, peerSessionId: session },
  });
  await addKernelPeer(net.b, middle.left, { ...ids(1, 100), address: "10.1.0.2/24" });
  const wire = { encapsulation: "IP", ipVersion: 6, sublayer: "none" } as const;
  const cookies = { txCookie: "a1b2c3d4", rxCookie: "01020304" };
  await addKernelPeer(c, middle.right, {
    ...{ ...ids(2, 200), ...wire, ...cookies },
    address: "10.1.0.3/24",
  });
  const vlan = ["type", "vlan", "id", String(VLAN)];
  await ip(c.name, "link", "add", "link", "peer0", "name", "vlan0", ...vlan);
  await ip(c.name, "addr", "add", "10.2.0.3/24", "dev", "vlan0");
  await ip(c.name, "link", "set", "vlan0", "up");
  await ip(net.b.name, "addr", "add", "10.2.0.2/24", "dev", "peer0");
  for (const name of [net.b.name, c.name]) await ip(name, "link", "set", "peer0", "mtu", "1300");
  await agent.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log, ...others.map((o) => o.log));
  for (const other of others.splice(0)) await other.destroy();
});

afterAll(async () => {
  await agent.kill();
  expect((await agent.teardown()).status).toBe(0);
  await agent.destroy();
  await net.remove();
});

type Datapath = NonNullable<TunnelSpec["datapath"]>;

function write(
  [left, right]: readonly [Datapath, Datapath],
  change: Partial<SessionSpec> = {},
  isPair = true,
): void {
  const ids = (sessionId: number) => ({ sessionId, peerSessionId: sessionId + 1 });
  agent.write("all.yaml", [
    variantTunnel("l", middle.left, net.b, LEFT, 1, { datapath: left }),
    variantTunnel("r", middle.right, c, RIGHT, 2, { datapath: right }),
    switchedSession("left", "l", "right", LEFT, ids(100)),
    switchedSession("right", "r", isPair ? "left" : "nothing", RIGHT, { ...ids(200), ...change }),
  ]);
}

const switched = (name: string) => agent.condition("l2tpsession", `shop/${name}`, "Switched");
const crosses = (address = "10.1.0.3") => ping(net.b.name, address);
const namesOf = async () => await ip(net.a.name, "-br", "link");

describe.each([
  ["both in the kernel", ["Kernel", "Kernel"]],
  ["the left in the kernel", ["Kernel", "Userspace"]],
  ["the right in the kernel", ["Userspace", "Kernel"]],
] as const)("%s", (_what, datapaths) => {
  it("forwards large and small frames, and stops when a session is no longer switched", async () => {
    write(datapaths);
    await until("frames cross", () => crosses());
    await until("the pair is reported", () => switched("left")?.status === "True");
    for (const size of [0, 56, 1272]) {
      expect(await ping(net.b.name, "10.1.0.3", { count: 5, size })).toBe(true);
    }
    const from = { netns: net.b.netns, address: "10.1.0.2" };
    const to = { netns: c.netns, address: "10.1.0.3" };
    const { sent, received } = await streamTcp(from, to, 1_000_000);
    expect(received).toEqual(sent);
    expect((await agent.ask({ op: "doctor", seconds: 1 })).findings).toEqual([]);
    // A new agent adopts everything unchanged.
    await agent.kill();
    expect(await ping(net.b.name, "10.1.0.3", { count: 5 })).toBe(true);
    await agent.start();
    write(datapaths, {}, false);
    await until("the pair is separated", () => switched("left")?.reason === "NotMutual");
    await until("no frames cross", async () => !(await crosses()));
    write(datapaths);
    await until("frames cross again", () => crosses());
  });

  it("pushes and pops tags", async () => {
    write(datapaths, { pseudowireType: "EthernetVLAN", vlan: { id: 7, peerId: VLAN } });
    await until("frames cross", () => crosses("10.2.0.3"));
    await until("untagged frames do not", async () => !(await crosses()));
  });
});

it("deletes its filters when a session is attachable to pods again", async () => {
  write(["Kernel", "Kernel"]);
  await until("frames cross", () => crosses());
  expect(await namesOf()).toMatch(/l2\w+-100/);
  write(["Kernel", "Kernel"], { attachment: { mode: "Bridge" } });
  await until("the pair is separated", () => switched("left")?.reason === "NotMutual");
  const device = /(l2\w+-200)\b/.exec(await namesOf())?.[1] ?? "";
  await until("the filter is deleted", async () => {
    const shown = await run(["tc", "filter", "show", "dev", device, "ingress"]);
    return !shown.includes("mirred");
  });
});

describe("managed", () => {
  it.each([["Kernel"], ["Userspace"]] as const)(
    "forwards frames and relays circuit status: %s beside Kernel",
    async (datapath) => {
      agent.write("all.yaml", [
        managedBy("ml", middle.left, net.b, { datapath: "Kernel" }),
        managedBy("mr", middle.right, c, { datapath }),
        managedSession("mleft", "ml", { remoteEndId: "x", ...switchTo("mright") }),
        managedSession("mright", "mr", { remoteEndId: "y", ...switchTo("mleft") }),
      ]);
      const ends = [
        ["x", net.b, middle.left],
        ["y", c, middle.right],
      ] as const;
      const pods: string[] = [];
      for (const [id, at, remote] of ends) {
        const other = new TestAgent(at);
        others.push(other);
        const tunnel = managedBy("t", at, remote, { datapath: "Userspace" });
        other.write("all.yaml", [tunnel, managedSession("lan", "t", { remoteEndId: id })]);
        await other.start();
        pods.push(await net.addPod(`${datapath}${id}`.toLowerCase()));
      }
      const attach = async (index: 0 | 1, command: "ADD" | "DEL") => {
        const { host, socket } = others[index] as TestAgent;
        const netns = pods[index] ?? "";
        const addresses = { ips: [`10.3.0.${index + 1}/24`] };
        const rest = { session: "shop/lan", socket, runtimeConfig: addresses };
        const config = { cniVersion: "1.0.0", name: "switch", type: "l2tp", ...rest };
        const call = { command, netns, containerId: nameOf(netns), config };
        expect((await cni(host, call)).status).toBe(0);
      };
      await attach(0, "ADD");
      await attach(1, "ADD");
      await until("frames cross", () => ping(pods[0] ?? "", "10.3.0.2"));
      await attach(1, "DEL");
      const established = () => others[0]?.condition("l2tpsession", "shop/lan", "Established");
      await until("the left peer is informed", () => established()?.reason === "NotActive");
      await attach(1, "ADD");
      await until("frames cross again", () => ping(pods[0] ?? "", "10.3.0.2"));
    },
  );
});
