/** Managed and quiescent kernel tunnels over IP protocol 115. */
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

  it("negotiates IDs and cookies, and the kernel forwards frames", async () => {
    const [a, b] = pair.agents;
    pair.write(0);
    pair.write(1);
    for (const agent of [a, b]) await agent.start();
    await Promise.all([pair.attach(0), pair.attach(1)]);
    await pair.crosses();
    await until("CHECK succeeds", () => pair.isWhole());
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

  it("keeps running while its agent is down", async () => {
    const [a] = pair.agents;
    const index = (await pair.net1())?.ifindex;
    const command = ["ping", "-q", "-i", "0.05", "-w", "60", "10.1.0.2"];
    const pings = tryRun(inside(pair.pods[0], ...command));
    await a.kill();
    await a.start();
    await tryRun(["pkill", "-INT", "-x", "ping"]);
    const match = /(\d+) packets transmitted, (\d+) received/.exec((await pings).stdout);
    // The last ping may still be in flight.
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
      ...{ connectionId: 0, ns: 0, hostName: "other-peer" },
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

  it("detects a dead peer, and reconnects", () =>
    pair.isMadeAnew(async () => {
      await pair.killPeer();
      await until("the peer is detected as down", () => pair.alive() === "False");
      await pair.agents[1].start();
    }));

  it.each<[string, () => Promise<unknown>]>([
    [
      "the datapath process",
      async () => process.kill(await pair.agents[0].datapathPid(), "SIGKILL"),
    ],
    [
      "the kernel's tunnel",
      async () => {
        const id = await pair.kernelTunnelId();
        await ip(pair.net.a.name, "l2tp", "del", "tunnel", "tunnel_id", id);
      },
    ],
    [
      "the kernel's session",
      async () => {
        const [tunnel, session] = [await pair.kernelTunnelId(), await pair.agreement()];
        const ids = ["tunnel_id", tunnel, "session_id", `${session?.sessionId}`];
        await ip(pair.net.a.name, "l2tp", "del", "session", ...ids);
      },
    ],
  ])("survives the loss of %s", (_what, lose) => pair.isMadeAnew(lose));

  it("works with a userspace peer, when both initiate", async () => {
    for (const end of [0, 1] as const) pair.write(end, {}, end === 0 ? {} : USERSPACE);
    await until("the peer is in userspace", async () => {
      const [row] = await pair.agents[1].ask({ op: "tunnels" });
      return row?.datapath === "Userspace" && row.control?.state === "established";
    });
    await pair.crosses();
    await pair.killPeer();
    await until("the peer is detected as down", () => pair.alive() === "False");
    await pair.agents[1].start();
    await pair.crosses();
  });

  it("has several peers at one address", async () => {
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
    const id = (await until("the other session is established", wan)).sessionId;
    await pair.crosses();
    await until("the kernel has both", async () => {
      return (await pair.inKernel("session")).includes(`Session ${id} in`);
    });
  });

  it("reports the state of the peer if quiescent, also with a userspace peer", async () => {
    const [, peer] = pair.agents;
    for (const spec of [{}, USERSPACE]) {
      pair.writeQuiescent(0);
      pair.writeQuiescent(1, spec);
      await until("the peer has the new configuration", async () => {
        const [row] = await peer.ask({ op: "tunnels" });
        const isPlaced = row?.datapath === (spec === USERSPACE ? "Userspace" : "Kernel");
        return isPlaced && row?.control?.mode === "Quiescent" && pair.alive(1) === "True";
      });
      await pair.crosses();
      await until("the peer is connected", () => pair.alive() === "True");
      expect(await pair.inKernel("session")).toContain("Session 128 in tunnel 1");
      const index = (await pair.net1())?.ifindex;
      await pair.killPeer();
      await until("the peer is detected as down", () => pair.alive() === "False");
      await peer.start();
      await until("the peer is back", () => pair.alive() === "True");
      await pair.crosses();
      expect((await pair.net1())?.ifindex).toBe(index);
    }
  });

  it("is deleted without remains", async () => {
    for (const agent of pair.agents) agent.remove("all.yaml");
    await until(
      "the kernel's tunnel is deleted",
      async () => (await pair.inKernel("tunnel")) === "",
    );
    await until("the interface is deleted", async () => (await pair.net1()) === undefined);
    for (const end of [0, 1] as const) expect((await pair.call("DEL", end)).status).toBe(0);
    const { netns, [family]: local } = pair.net.a;
    // The socket for SCCRQs is closed, too.
    await until("its sockets are closed", () => {
      closeFd(inNetns(netns, () => openL2tpIpSocket(local, NO_CONNECTION_ID, null)));
      return true;
    });
  });

  it("reports another program that receives the address's SCCRQs", async () => {
    const { netns, [family]: local } = pair.net.a;
    const other = inNetns(netns, () => openL2tpIpSocket(local, NO_CONNECTION_ID, null));
    const programmed = () => pair.agents[0].condition("l2tptunnel", "branch", "Programmed");
    try {
      pair.write(0);
      await until("the condition reports it", () => programmed()?.reason === "AddressInUse");
      expect(programmed()?.message).toContain(`${local} control connection ID 0`);
    } finally {
      closeFd(other);
    }
    await until("the retry succeeds", () => programmed()?.status === "True");
  });
});
