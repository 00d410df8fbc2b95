/** Managed and quiescent kernel tunnels over UDP. Tests use ip-l2tp(8) to read state and to cause faults only. */

import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import type { FloodOptions } from "../harness/control-flood.ts";
import { type Host, inside, ip, link, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject } from "../harness/objects.ts";
import { Background, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

type End = 0 | 1;

const FLOOD = fileURLToPath(new URL("../harness/control-flood.ts", import.meta.url));
const HELLO = { interval: "1s", deadAfter: "4s" };
const KERNEL = { datapath: "Kernel" };

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];

beforeAll(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
});

afterAll(async () => {
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const tunnelOf = (local: Host, remote: Host, control: object, more: object) =>
  managedTunnel("branch", local, remote, { hello: HELLO, ...control }, more);

/** Writes one end's objects. The left end initiates. */
function write(end: End, tunnel: object = KERNEL, session: object = {}): void {
  const [local, remote] = end === 0 ? [net.a, net.b] : [net.b, net.a];
  const control = end === 0 ? {} : { initiate: false, role: "LNS" };
  const lan = managedSession("lan", "branch", session);
  agents[end].write("all.yaml", [tunnelOf(local, remote, control, tunnel), lan]);
}

function call(command: "ADD" | "DEL", end: End) {
  const agent = agents[end];
  const ips = [`10.1.0.${end + 1}/24`, `fd00:1::${end + 1}/64`];
  const rest = { socket: agent.socket, runtimeConfig: { ips } };
  const config = { cniVersion: "1.0.0", name: "self", type: "l2tp", session: "shop/lan", ...rest };
  return cni(agent.host, { command, netns: pods[end], config });
}

/** Repeats ADD until it succeeds, as a runtime does. */
const attach = (end: End) =>
  until("the pod has its interface", async () => (await call("ADD", end)).status === 0);

const established = (end: End) => agents[end].condition("l2tpsession", "shop/lan", "Established");
const crosses = () => until("frames cross", () => ping(pods[0], "10.1.0.2"));
const net1 = () => link(pods[0], "net1");
const isUp = async () => (await net1())?.flags.includes("UP");
const isWhole = () =>
  agents[0]
    .ask({
      op: "check",
      containerId: "c1",
      cniIfname: "net1",
      addresses: ["10.1.0.1/24"],
      destinations: [],
    })
    .then(() => true);

/** The properties of net1 in the left pod that must not change. */
async function identity() {
  const found = await net1();
  const addresses = found?.addr_info?.map(({ local }) => local);
  const own = addresses?.filter((local) => !local.startsWith("fe80"));
  return { mac: found?.address, mtu: found?.mtu, addresses: own?.sort() };
}

/** Runs `work`, which deletes the device. Checks that an equal device is recreated, and that frames cross. */
async function isMadeAnew(work: () => Promise<unknown>): Promise<void> {
  const [before, index] = [await identity(), (await net1())?.ifindex];
  await work();
  await until("the device is recreated", async () => {
    const now = (await net1())?.ifindex;
    return now !== undefined && now !== index;
  });
  await crosses();
  await until("the device has its properties", async () => {
    expect(await identity()).toEqual(before);
    return isWhole();
  });
}

async function killPeer(): Promise<void> {
  await agents[1].kill();
  process.kill(await agents[1].datapathPid(), "SIGKILL");
}

/** The kernel's tunnels or sessions at the left end (ip-l2tp(8)). */
const inKernel = (what: "tunnel" | "session") => ip(net.a.name, "l2tp", "show", what);
const tunnelRow = async () => (await agents[0].ask({ op: "tunnels" }))[0];
const agreement = async () => (await agents[0].session("shop/lan"))?.control?.established;

describe("a managed tunnel in the kernel", () => {
  it("fails ADD with a reason before the session is established", async () => {
    write(0);
    await agents[0].start();
    const answer = await call("ADD", 0);
    expect(JSON.parse(answer.stdout)).toMatchObject({
      code: 11,
      msg: expect.stringContaining("L2tpSession shop/lan is not established"),
    });
    expect(await net1()).toBeUndefined();
  });

  it("is down while no pod is attached at the peer, and CHECK succeeds", async () => {
    write(1);
    await agents[1].start();
    await attach(0);
    await until("the condition reports it", () => established(0)?.reason === "NotActive");
    await until("the interface is down", async () => (await isUp()) === false);
    await until("CHECK succeeds", isWhole);
  });

  it("negotiates IDs and cookies, and the kernel forwards frames", async () => {
    await attach(1);
    await crosses();
    await until("IPv6 crosses, too", () => ping(pods[0], "fd00:1::2"));
    await until("CHECK succeeds", isWhole);
    const [a] = agents;
    expect(a.condition("l2tptunnel", "branch", "Programmed")?.message).toContain("kernel datapath");
    expect(await tunnelRow()).toMatchObject({
      ...{ name: "branch", datapath: "Kernel", sessions: 1 },
      control: { state: "established" },
    });
    expect((await a.session("shop/lan"))?.counters.rxPackets).toBeGreaterThan(0);
    const session = await inKernel("session");
    expect(session).toContain(`Session ${(await agreement())?.sessionId} in tunnel`);
    expect(session).toMatch(/cookie [0-9a-f]{16}\s+peer cookie [0-9a-f]{16}/);
    expect((await a.ask({ op: "dump" })).map(({ owner, datapath }) => [owner, datapath])).toEqual([
      ["L2tpTunnel branch", "Kernel"],
      ["L2tpSession shop/lan", "Kernel"],
    ]);
    expect((await a.ask({ op: "doctor", seconds: 0 })).findings).toEqual([]);
  });

  it("keeps running while its agent is down", async () => {
    const before = { ...(await identity()), index: (await net1())?.ifindex };
    const pings = tryRun(inside(pods[0], "ping", "-q", "-i", "0.05", "-w", "60", "10.1.0.2"));
    await agents[0].kill();
    await agents[0].start();
    await tryRun(["pkill", "-INT", "-x", "ping"]);
    const match = /(\d+) packets transmitted, (\d+) received/.exec((await pings).stdout);
    // The last ping may still be in flight.
    expect(Number(match?.[1]) - Number(match?.[2])).toBeLessThan(2);
    expect({ ...(await identity()), index: (await net1())?.ifindex }).toEqual(before);
  });

  it("keeps its connection and its device under a flood of control messages", async () => {
    const control = async () => {
      const found = (await tunnelRow())?.control;
      if (!found) throw new Error("no control connection");
      return found;
    };
    const [before, index] = [await control(), (await net1())?.ifindex];
    const port = 1701;
    const options: FloodOptions = {
      // The sender shares the emulated machine's only processor.
      ...{ flood: "requests", encapsulation: "UDP", perSecond: 200, seconds: 300 },
      from: { address: net.b.ipv4, port },
      to: { address: net.a.ipv4, port },
      ...{ connectionId: 0, ns: 0, hostName: "other-peer" },
    };
    const flood = new Background();
    try {
      flood.start(inside(net.b.name, process.execPath, FLOOD, JSON.stringify(options)));
      await until("messages are dropped", async () => (await control()).dropped > 500);
      await until("HELLOs are exchanged", async () => {
        const { sent, received } = await control();
        return sent + received - before.sent - before.received > 6;
      });
      await crosses();
      expect(await control()).toMatchObject({
        state: "established",
        localConnectionId: before.localConnectionId,
      });
      expect((await net1())?.ifindex).toBe(index);
      expect(await inKernel("session")).toContain(`Session ${(await agreement())?.sessionId} in`);
    } finally {
      await flood.stopAll();
    }
  });

  it("stays with its pod if the attachment is unreadable, and a repeated ADD repairs that", async () => {
    const before = { ...(await identity()), index: (await net1())?.ifindex };
    await agents[0].kill();
    const path = agents[0].damageAttachment("c1");
    agents[0].log = "";
    await agents[0].start();
    await until("the log names the file", () => agents[0].log.includes(path));
    await crosses();
    expect({ ...(await identity()), index: (await net1())?.ifindex }).toEqual(before);
    await attach(0);
    await until("CHECK succeeds", isWhole);
    await crosses();
    expect({ ...(await identity()), index: (await net1())?.ifindex }).toEqual(before);
  });

  it("goes down when the peer's pod is deleted, and up with the next pod", async () => {
    const before = await identity();
    expect((await call("DEL", 1)).status).toBe(0);
    await until("the interface is down", async () => (await isUp()) === false);
    await attach(1);
    await crosses();
    await until("the device has its properties", async () => {
      expect(await identity()).toEqual(before);
      return isWhole();
    });
  });

  it("detects a dead peer, and reconnects", () =>
    isMadeAnew(async () => {
      await killPeer();
      await until("the peer is detected as down", () => established(0)?.status === "False");
      await until("the interface is down", async () => (await isUp()) === false);
      const alive = agents[0].condition("l2tptunnel", "branch", "Alive");
      expect(alive?.reason).toBe("PeerLost");
      await agents[1].start();
    }));

  /** The tunnel's ID in the kernel. It differs from the control connection ID. */
  const kernelTunnelId = async () => /Tunnel (\d+),/.exec(await inKernel("tunnel"))?.[1] ?? "none";

  it.each<[string, () => Promise<unknown>]>([
    ["the datapath process", async () => process.kill(await agents[0].datapathPid(), "SIGKILL")],
    [
      "the kernel's tunnel",
      async () => {
        await ip(net.a.name, "l2tp", "del", "tunnel", "tunnel_id", await kernelTunnelId());
      },
    ],
    [
      "the kernel's session",
      async () => {
        const session = (await agreement())?.sessionId;
        const ids = ["tunnel_id", await kernelTunnelId(), "session_id", `${session}`];
        await ip(net.a.name, "l2tp", "del", "session", ...ids);
      },
    ],
  ])("survives the loss of %s", (_what, lose) => isMadeAnew(lose));

  it("changes the local port and sequence numbers", () =>
    isMadeAnew(async () => {
      const session = { sequencing: { send: true, receive: true } };
      write(0, { ...KERNEL, local: { port: 1702 } }, session);
      write(1, { ...KERNEL, remote: { address: net.a.ipv4, port: 1702 } }, session);
      await until("the kernel has the new port", async () =>
        (await inKernel("tunnel")).includes("1702"),
      );
    }));

  it("keeps running while its manifest is invalid", async () => {
    const index = (await net1())?.ifindex;
    write(0, { ...KERNEL, local: { port: 1702 }, tunnelId: 0 });
    const accepted = () => agents[0].condition("l2tptunnel", "branch", "Accepted")?.status;
    await until("the tunnel is refused", () => accepted() === "False");
    // Several reconciles must not delete it.
    expect(await ping(pods[0], "10.1.0.2", { count: 5, args: ["-i", "1"] })).toBe(true);
    expect((await net1())?.ifindex).toBe(index);
    expect((await tunnelRow())?.control?.state).toBe("established");
  });

  it("shares its port with another managed kernel tunnel, to which a session can move", async () => {
    const second = { ...net.b, ipv4: "192.0.2.22" };
    await ip(net.b.name, "addr", "add", `${second.ipv4}/24`, "dev", net.b.device);
    const ours = { ...KERNEL, local: { port: 1702 } };
    const theirs = { ...KERNEL, remote: { address: net.a.ipv4, port: 1702 } };
    const waits = { initiate: false, role: "LNS" };
    const writeBoth = (tunnelOfLan: string) => {
      const sessions = [managedSession("lan", tunnelOfLan), managedSession("wan", "other")];
      const other = (local: Host, remote: Host, control: object, more: object) =>
        managedTunnel("other", local, remote, { hello: HELLO, ...control }, more);
      agents[0].write("all.yaml", [
        ...[tunnelOf(net.a, net.b, {}, ours), other(net.a, second, {}, ours)],
        ...sessions,
      ]);
      const local = { local: { address: second.ipv4 } };
      agents[1].write("all.yaml", [
        tunnelOf(net.b, net.a, waits, theirs),
        ...[other(net.b, net.a, waits, { ...theirs, ...local }), ...sessions],
      ]);
    };
    const wan = async () => (await agents[0].session("shop/wan"))?.control?.established?.sessionId;
    writeBoth("branch");
    const id = await until("the other session is established", wan);
    await crosses();
    await isMadeAnew(async () => writeBoth("other"));
    expect(await wan()).toBe(id);
    await until("the kernel has both sessions", async () =>
      (await inKernel("session")).includes(`${id}`),
    );
  });

  it("works with a userspace peer", async () => {
    write(0, { ...KERNEL, local: { port: 1702 } });
    write(1, { remote: { address: net.a.ipv4, port: 1702 }, datapath: "Userspace" });
    await until("the peer is in userspace", async () => {
      const [row] = await agents[1].ask({ op: "tunnels" });
      return row?.datapath === "Userspace" && row.control?.state === "established";
    });
    await crosses();
  });

  it("keeps the pod's interface in mode Bridge when the peer reconnects", async () => {
    expect((await call("DEL", 0)).status).toBe(0);
    write(0, { ...KERNEL, local: { port: 1702 } }, { attachment: { mode: "Bridge" } });
    await until(
      "the device is on a bridge",
      async () => (await agents[0].session("shop/lan"))?.mode === "Bridge",
    );
    await attach(0);
    await crosses();
    const index = (await net1())?.ifindex;
    await killPeer();
    await until("the peer is detected as down", () => established(0)?.status === "False");
    await agents[1].start();
    await crosses();
    expect((await net1())?.ifindex).toBe(index);
    await until("CHECK succeeds", isWhole);
  });

  it("is deleted without remains", async () => {
    for (const agent of agents) agent.remove("all.yaml");
    await until("the kernel's tunnel is deleted", async () => (await inKernel("tunnel")) === "");
    await until("the interface is deleted", async () => (await net1()) === undefined);
    for (const end of [0, 1] as const) expect((await call("DEL", end)).status).toBe(0);
  });
});

it("a quiescent kernel tunnel reports the state of the peer", async () => {
  const quiescent = (local: Host, remote: Host, tunnelId: number, peerTunnelId: number) =>
    tunnelOf(local, remote, { mode: "Quiescent" }, { ...KERNEL, tunnelId, peerTunnelId });
  const [a, b] = agents;
  a.write("all.yaml", [quiescent(net.a, net.b, 1, 2), sessionObject("lan", "branch")]);
  b.write("all.yaml", [quiescent(net.b, net.a, 2, 1), sessionObject("lan", "branch")]);
  await attach(0);
  await attach(1);
  await crosses();
  const alive = () => a.condition("l2tptunnel", "branch", "Alive")?.status;
  await until("the peer is connected", () => alive() === "True");
  expect(await inKernel("session")).toContain("Session 128 in tunnel 1");
  const index = (await net1())?.ifindex;
  await killPeer();
  await until("the peer is detected as down", () => alive() === "False");
  await b.start();
  await until("the peer is back", () => alive() === "True");
  await crosses();
  expect((await net1())?.ifindex).toBe(index);
});
