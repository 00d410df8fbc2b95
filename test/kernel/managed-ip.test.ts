/** Tunnels over IP protocol 115 that have a control connection, and whose frames the kernel moves. */
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { NO_CONNECTION_ID, openL2tpIpSocket } from "../../datapath/l2tp-ip-socket.ts";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import type { FloodOptions } from "../harness/control-flood.ts";
import { ManagedAgents } from "../harness/managed-agents.ts";
import { inside, ip } from "../harness/net.ts";
import { managedSession } from "../harness/objects.ts";
import { Background, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const FLOOD = fileURLToPath(new URL("../harness/control-flood.ts", import.meta.url));
const USERSPACE = { datapath: "Userspace" };

describe.each(["ipv4", "ipv6"] as const)("over %s", (family) => {
  let pair: ManagedAgents;

  beforeAll(async () => {
    pair = await ManagedAgents.create({ encapsulation: "IP", family });
  });

  afterEach((context) => {
    if (context.task.result?.state === "fail") console.log(...pair.agents.map(({ log }) => log));
  });

  afterAll(() => pair.destroy());

  it("agrees on ids and cookies, and the kernel moves the frames", async () => {
    const [a, b] = pair.agents;
    pair.write(0);
    pair.write(1);
    for (const agent of [a, b]) await agent.start();
    await Promise.all([pair.attach(0), pair.attach(1)]);
    await pair.crosses();
    await until("all is as it should be", () => pair.isWhole());
    const programmed = a.condition("l2tptunnel", "branch", "Programmed");
    expect(programmed?.message).toContain("kernel's L2TP");
    expect(await pair.tunnelRow()).toMatchObject({
      ...{ datapath: "Kernel", sessions: 1 },
      control: { state: "established" },
    });
    expect(await pair.inKernel("tunnel")).toContain("encap IP");
    const id = (await pair.agreement())?.sessionId;
    expect(await pair.inKernel("session")).toContain(`Session ${id} in tunnel`);
    expect((await a.session("shop/lan"))?.counters.rxPackets).toBeGreaterThan(0);
    expect((await a.ask({ op: "dump" })).map(({ owner, datapath }) => [owner, datapath])).toEqual([
      ["L2tpTunnel branch", "Kernel"],
      ["L2tpSession shop/lan", "Kernel"],
    ]);
    expect((await a.ask({ op: "doctor", seconds: 0 })).findings).toEqual([]);
  });

  it("is nobody's business while its agent is away", async () => {
    const [a] = pair.agents;
    const index = (await pair.net1())?.ifindex;
    const command = ["ping", "-q", "-i", "0.05", "-w", "60", "10.1.0.2"];
    const pings = tryRun(inside(pair.pods[0], ...command));
    await a.kill();
    await a.start();
    await tryRun(["pkill", "-INT", "-x", "ping"]);
    const match = /(\d+) packets transmitted, (\d+) received/.exec((await pings).stdout);
    // The last one may have been on its way.
    expect(Number(match?.[1]) - Number(match?.[2])).toBeLessThan(2);
    expect((await pair.net1())?.ifindex).toBe(index);
  });

  it("keeps its connection and its device under a flood of requests", async () => {
    const control = async () => {
      const found = (await pair.tunnelRow())?.control;
      if (!found) throw new Error("no control connection");
      return found;
    };
    const [before, index] = [await control(), (await pair.net1())?.ifindex];
    const { a, b } = pair.net;
    const options: FloodOptions = {
      ...{ flood: "requests", encapsulation: "IP", perSecond: 200, seconds: 300 },
      from: { address: b[family], port: 0 },
      to: { address: a[family], port: 0 },
      ...{ connectionId: 0, ns: 0, hostName: "somebody" },
    };
    const flood = new Background();
    try {
      flood.start(inside(b.name, process.execPath, FLOOD, JSON.stringify(options)));
      await until("messages are dropped", async () => (await control()).dropped > 500);
      await pair.crosses();
      const { localConnectionId } = before;
      expect(await control()).toMatchObject({ state: "established", localConnectionId });
      expect((await pair.net1())?.ifindex).toBe(index);
    } finally {
      await flood.stopAll();
    }
  });

  it("misses a dead peer, and finds the one that comes back", () =>
    pair.isMadeAnew(async () => {
      await pair.killPeer();
      await until("it is missed", () => pair.alive() === "False");
      await pair.agents[1].start();
    }));

  it.each<[string, () => Promise<unknown>]>([
    [
      "the process that holds it",
      async () => process.kill(await pair.agents[0].datapathPid(), "SIGKILL"),
    ],
    [
      "the kernel's tunnel",
      async () => {
        const id = (await pair.tunnelRow())?.tunnelId;
        await ip(pair.net.a.name, "l2tp", "del", "tunnel", "tunnel_id", `${id}`);
      },
    ],
    [
      "the kernel's session",
      async () => {
        const [tunnel, session] = [await pair.tunnelRow(), await pair.agreement()];
        const ids = ["tunnel_id", `${tunnel?.tunnelId}`, "session_id", `${session?.sessionId}`];
        await ip(pair.net.a.name, "l2tp", "del", "session", ...ids);
      },
    ],
  ])("survives the loss of %s", (_what, lose) => pair.isMadeAnew(lose));

  it("has a peer in userspace, and both begin", async () => {
    for (const end of [0, 1] as const) pair.write(end, {}, end === 0 ? {} : USERSPACE);
    await until("it is in userspace", async () => {
      const [row] = await pair.agents[1].ask({ op: "tunnels" });
      return row?.datapath === "Userspace" && row.control?.state === "established";
    });
    await pair.crosses();
    await pair.killPeer();
    await until("it is missed", () => pair.alive() === "False");
    await pair.agents[1].start();
    await pair.crosses();
  });

  it("has several peers at one address, and each is heard", async () => {
    const { a, b } = pair.net;
    const second = { ...b, ipv4: "192.0.2.22", ipv6: "2001:db8::22" };
    const address = family === "ipv4" ? `${second.ipv4}/24` : `${second.ipv6}/64`;
    const quietly = family === "ipv4" ? [] : ["nodad"];
    await ip(b.name, "addr", "add", address, "dev", b.device, ...quietly);
    const waits = { initiate: false, role: "LNS" };
    const sessions = [managedSession("lan", "branch"), managedSession("wan", "other")];
    pair.agents[0].write("all.yaml", [
      pair.tunnel("branch", a, b, waits),
      pair.tunnel("other", a, second, waits),
      ...sessions,
    ]);
    pair.agents[1].write("all.yaml", [
      pair.tunnel("branch", b, a, {}),
      pair.tunnel("other", second, a, {}),
      ...sessions,
    ]);
    const wan = async () => (await pair.agents[0].session("shop/wan"))?.control?.established;
    const id = (await until("the other is agreed on", wan)).sessionId;
    await pair.crosses();
    await until("the kernel has both", async () => {
      return (await pair.inKernel("session")).includes(`Session ${id} in`);
    });
  });

  it("says whether the peer lives where it is quiescent, also of one in userspace", async () => {
    const [, peer] = pair.agents;
    for (const spec of [{}, USERSPACE]) {
      pair.writeQuiescent(0);
      pair.writeQuiescent(1, spec);
      await until("the peer is as it is to be, and there", async () => {
        const [row] = await peer.ask({ op: "tunnels" });
        const isPlaced = row?.datapath === (spec === USERSPACE ? "Userspace" : "Kernel");
        return isPlaced && row?.control?.mode === "Quiescent" && pair.alive(1) === "True";
      });
      await pair.crosses();
      await until("the peer is there", () => pair.alive() === "True");
      expect(await pair.inKernel("session")).toContain("Session 128 in tunnel 1");
      const index = (await pair.net1())?.ifindex;
      await pair.killPeer();
      await until("it is missed", () => pair.alive() === "False");
      await peer.start();
      await until("the peer is back", () => pair.alive() === "True");
      await pair.crosses();
      expect((await pair.net1())?.ifindex).toBe(index);
    }
  });

  it("leaves nothing behind when it goes", async () => {
    for (const agent of pair.agents) agent.remove("all.yaml");
    await until("it is gone", async () => (await pair.inKernel("tunnel")) === "");
    await until("the interface is", async () => (await pair.net1()) === undefined);
    for (const end of [0, 1] as const) expect((await pair.call("DEL", end)).status).toBe(0);
    const { netns, [family]: local } = pair.net.a;
    // Nobody hears SCCRQs there any more.
    await until("its sockets are closed", () => {
      closeFd(inNetns(netns, () => openL2tpIpSocket(local, NO_CONNECTION_ID, null)));
      return true;
    });
  });

  it("names what is in the way where another program hears the address's requests", async () => {
    const { netns, [family]: local } = pair.net.a;
    const other = inNetns(netns, () => openL2tpIpSocket(local, NO_CONNECTION_ID, null));
    const programmed = () => pair.agents[0].condition("l2tptunnel", "branch", "Programmed");
    try {
      pair.write(0);
      await until("it is told", () => programmed()?.reason === "AddressInUse");
      expect(programmed()?.message).toContain(`${local} control connection ID 0`);
    } finally {
      closeFd(other);
    }
    await until("it is tried again", () => programmed()?.status === "True");
  });
});
