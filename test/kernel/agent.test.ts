/** A node with the kernel datapath, and a peer created by ip-l2tp(8). */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { L2tpNetlink, type NewKernelSession } from "../../datapath/kernel/l2tp-netlink.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { addKernelPeer, addKernelSession } from "../harness/kernel-peer.ts";
import { inside, ip, link, linksOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

/** enum l2tp_pwtype. */
const PPP = 7;

let net: TestNet;
let a: TestAgent;
let pod: string;

const config = (session: string, address: string) => ({
  cniVersion: "1.0.0",
  name: "branch",
  type: "l2tp",
  session: `shop/${session}`,
  socket: a.socket,
  runtimeConfig: { ips: [address] },
});

async function call(
  command: "ADD" | "DEL",
  netns: string,
  containerId: string,
  session = "lan",
  address = "10.1.0.1/24",
) {
  return cni(a.host, { command, netns, containerId, config: config(session, address) });
}

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  a = new TestAgent(net.a);
  a.write("tunnel.yaml", [tunnelObject("branch", net.a, net.b)]);
  a.write("lan.yaml", [sessionObject("lan", "branch")]);
  await addKernelPeer(net.b, net.a, { address: "10.1.0.2/24" });
  await a.start();
  pod = await net.addPod("p");
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  await until("frames cross", () => ping(pod, "10.1.0.2"));
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(a.log);
});

afterAll(async () => {
  await a.kill();
  expect((await a.teardown()).status).toBe(0);
  expect(await ip(net.a.name, "l2tp", "show", "tunnel")).toBe("");
  await a.destroy();
  await net.remove();
});

/** The properties of net1 that must not change. */
async function identity() {
  const net1 = await link(pod, "net1");
  const addresses = net1?.addr_info?.filter(({ local }) => local.includes("."));
  return { index: net1?.ifindex, mac: net1?.address, mtu: net1?.mtu, addresses };
}

/** Pings without pause while `work` runs. @returns how many are not answered */
async function lostWhile(work: () => Promise<void>): Promise<number> {
  let over = false;
  const pings = tryRun(inside(pod, "ping", "-q", "-f", "-w", "120", "10.1.0.2"));
  await work().finally(() => {
    over = true;
  });
  expect(over).toBe(true);
  await tryRun(["pkill", "-INT", "-x", "ping"]);
  const match = /(\d+) packets transmitted, (\d+) received/.exec((await pings).stdout);
  // The last ping may still be in flight.
  return Math.max(0, Number(match?.[1]) - Number(match?.[2]) - 1);
}

const repaired = (what: string) =>
  until(what, async () => (await link(pod, "net1")) !== undefined && (await ping(pod, "10.1.0.2")));

it("reports the kernel datapath, and shows its counters", async () => {
  expect(a.condition("l2tptunnel", "branch", "Programmed")?.message).toContain("kernel datapath");
  const session = await a.session("shop/lan");
  expect(session?.counters.rxPackets).toBeGreaterThan(0);
  expect(session?.lastReceivedMsAgo).not.toBeNull();
  expect((await a.ask({ op: "tunnels" }))[0]).toMatchObject({ datapath: "Kernel", sessions: 1 });
});

it("adopts tunnels and sessions without state files, and loses no frame", async () => {
  const before = await identity();
  const lost = await lostWhile(async () => {
    await a.kill();
    await a.start();
  });
  expect(lost).toBe(0);
  expect(await identity()).toEqual(before);
});

it("leaves the session to its pod until DEL if the attachment is unreadable", async () => {
  const before = await identity();
  await a.kill();
  const path = a.damageAttachment("c1");
  a.log = "";
  const lost = await lostWhile(async () => {
    await a.start();
    await until("the log names the file", () => a.log.includes(path));
    a.write("more.yaml", [sessionObject("more", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("another reconcile is done", () => a.session("shop/more"));
    a.remove("more.yaml");
    await until(
      "one more reconcile is done",
      async () => (await a.session("shop/more")) === undefined,
    );
  });
  expect(lost).toBe(0);
  expect(await identity()).toEqual(before);
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect(await link(pod, "net1")).toBeUndefined();
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  await until("frames cross", () => ping(pod, "10.1.0.2"));
});

describe("repairs", () => {
  it("an interface that is moved to the node", async () => {
    await ip(pod, "link", "set", "net1", "netns", "1");
    await repaired("frames cross again");
  });

  it("a deleted session", async () => {
    const before = await identity();
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
    await repaired("the session is recreated");
    const { index: _, ...rest } = await identity();
    expect(before).toMatchObject(rest);
  });

  it("a session that is recreated with other parameters", async () => {
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
    await ip(
      net.a.name,
      ...["l2tp", "add", "session", "tunnel_id", "1", "session_id", "128"],
      ...["peer_session_id", "77", "name", "l2tp-128"],
    ).catch(() => "the agent was faster");
    await repaired("the session is recreated");
  });

  it("a session with a duplicate session ID", async () => {
    await ip(
      net.a.name,
      ...["l2tp", "add", "session", "tunnel_id", "1", "session_id", "128"],
      ...["peer_session_id", "77", "name", "l2tp-128"],
    ).catch(() => "Linux 6.1 takes none");
    await until("one session remains", async () => {
      const sessions = await ip(net.a.name, "l2tp", "show", "session", "tunnel_id", "1");
      return sessions.match(/Session 128 /g)?.length === 1 && !sessions.includes("peer session 77");
    });
    await repaired("frames cross");
  });

  it("a deleted tunnel", async () => {
    await ip(net.a.name, "l2tp", "del", "tunnel", "tunnel_id", "1");
    await repaired("the session is recreated");
  });
});

it("changes sequencing in place, and keeps the interface's name and addresses on other changes", async () => {
  const before = await identity();
  a.write("lan.yaml", [sessionObject("lan", "branch", { sequencing: { send: true } })]);
  await until("the session sends sequence numbers", async () =>
    (await ip(net.a.name, "l2tp", "show", "session")).includes("sequence numbering: send"),
  );
  expect(await identity()).toEqual(before);
  expect(await ping(pod, "10.1.0.2")).toBe(true);

  const cookies = { cookies: { transmit: { value: "0102030405060708" } } };
  a.write("lan.yaml", [sessionObject("lan", "branch", cookies)]);
  await until(
    "the MTU follows the cookie",
    async () => (await identity()).mtu === (before.mtu ?? 0) - 8,
  );
  expect((await identity()).mac).toBe(before.mac);
  expect((await identity()).addresses).toEqual(before.addresses);
  expect(await ping(pod, "10.1.0.2")).toBe(false);
  a.write("lan.yaml", [sessionObject("lan", "branch")]);
  await repaired("frames cross again");
});

it("moves a live session to userspace and back, and the interface keeps its name, MAC and addresses", async () => {
  const { index: _, ...before } = await identity();
  for (const [asked, datapath] of [
    ["Userspace", "Userspace"],
    ["Auto", "Kernel"],
  ] as const) {
    a.write("tunnel.yaml", [tunnelObject("branch", net.a, net.b, { datapath: asked })]);
    await until(`the datapath is ${datapath}`, async () => {
      const [tunnel] = await a.ask({ op: "tunnels" });
      return tunnel?.datapath === datapath && (await ping(pod, "10.1.0.2"));
    });
    const { index: __, ...after } = await identity();
    expect(after).toEqual(before);
    const inKernel = (await ip(net.a.name, "l2tp", "show", "tunnel")) !== "";
    expect(inKernel).toBe(datapath === "Kernel");
  }
});

it("returns the device to the node on DEL, and gives it to the next pod", async () => {
  const index = (await link(pod, "net1"))?.ifindex;
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect(await link(pod, "net1")).toBeUndefined();
  const idle = await link(net.a.name, "l2tp-128");
  expect(idle?.ifindex).toBe(index);
  expect(idle?.flags).not.toContain("UP");
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("recovers from a pod's namespace that is deleted without DEL", async () => {
  const other = await net.addPod("other");
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect((await call("ADD", other, "c2")).stdout).toContain("10.1.0.1/24");
  await net.removePod(other);
  await until("the device is back on the node", () => link(net.a.name, "l2tp-128"));
  expect((await linksOf(net.a.name)).map(({ ifname }) => ifname)).not.toContain("net1");
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("forwards VLAN tags and frames that are not IP", async () => {
  for (const [netns, device, address] of [
    [pod, "net1", "10.7.0.1/24"],
    [net.b.name, "peer0", "10.7.0.2/24"],
  ] as const) {
    await ip(netns, "link", "add", "tagged", "link", device, "type", "vlan", "id", "7");
    await ip(netns, "addr", "add", address, "dev", "tagged");
    await ip(netns, "link", "set", "tagged", "up");
  }
  // ARP is not IP. A full frame has its tag in addition to the MTU.
  await until("tagged frames cross", () => ping(pod, "10.7.0.2"));
  expect(await ping(pod, "10.7.0.2", { size: 1414, args: ["-M", "do"] })).toBe(true);
  await ip(pod, "link", "del", "tagged");
});

it("connects several pods to one session by a bridge", async () => {
  a.write("wan.yaml", [
    sessionObject("wan", "branch", {
      sessionId: 200,
      peerSessionId: 200,
      attachment: { mode: "Bridge" },
    }),
  ]);
  await addKernelSession(net.b, {
    sessionId: 200,
    peerSessionId: 200,
    name: "peer200",
    address: "10.2.0.9/24",
  });
  await until("the device exists", () => link(net.a.name, "l2tp-200"));
  const pods = await Promise.all(["q1", "q2"].map((name) => net.addPod(name)));
  for (const [index, netns] of pods.entries()) {
    const answer = await call("ADD", netns, `q${index}`, "wan", `10.2.0.${index + 1}/24`);
    expect(answer.stdout).toContain(`10.2.0.${index + 1}/24`);
  }
  await until("frames cross", () => ping(pods[0] ?? "", "10.2.0.9"));
  expect(await ping(pods[1] ?? "", "10.2.0.9")).toBe(true);
  expect(await ping(pods[0] ?? "", "10.2.0.2")).toBe(true);
  for (const [index, netns] of pods.entries()) {
    expect((await call("DEL", netns, `q${index}`, "wan")).status).toBe(0);
  }
  expect((await link(net.a.name, "l2tp-200"))?.master).toBeUndefined();
  a.remove("wan.yaml");
  await until(
    "the device is deleted",
    async () => (await link(net.a.name, "l2tp-200")) === undefined,
  );
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("does not change foreign tunnels and sessions, reports conflicts with them, and dumps them", async () => {
  await ip(
    net.a.name,
    ...["l2tp", "add", "tunnel", "tunnel_id", "9", "peer_tunnel_id", "9", "encap", "udp"],
    ...["local", net.a.ipv4, "remote", net.b.ipv4, "udp_sport", "5009", "udp_dport", "5009"],
  );
  await ip(
    net.a.name,
    ...["l2tp", "add", "session", "tunnel_id", "9", "session_id", "900", "peer_session_id", "900"],
    ...["cookie", "deadbeef", "name", "foreign"],
  );
  const l2tp = L2tpNetlink.open(null);
  const v2 = { tunnelId: 12, peerTunnelId: 12, protocolVersion: 2, encapsulation: "UDP" } as const;
  const v2Ends = { local: net.a.ipv4, remote: net.b.ipv4, localPort: 1701, remotePort: 1701 };
  expect(l2tp.createTunnels([{ ...v2, ...v2Ends, udpChecksum: true }])).toEqual([null]);
  const ppp: NewKernelSession = {
    ...{ tunnelId: 12, sessionId: 13, peerSessionId: 13, pseudowireType: PPP },
    ...{ l2SpecificSublayer: "Default", txCookie: "", rxCookie: "", interface: "" },
    ...{ sendSequence: false, receiveSequence: false, reorderTimeoutMs: 0, lnsMode: false },
  };
  expect(l2tp.createSessions([ppp])).toEqual([null]);
  const ends = { tunnelId: 9, local: { address: net.a.ipv4, port: 5010 } };
  a.write("clash.yaml", [
    tunnelObject("clash", net.a, net.b, ends),
    sessionObject("clash", "clash", { sessionId: 901, peerSessionId: 901 }),
    sessionObject("same", "branch", { sessionId: 900, peerSessionId: 901 }),
  ]);
  const notOurs = { status: "False", reason: "NotOurs" };
  await until("both are refused", () => {
    const tunnel = a.condition("l2tptunnel", "clash", "Programmed");
    const session = a.condition("l2tpsession", "shop/same", "Programmed");
    return tunnel?.reason === "NotOurs" && session?.reason === "NotOurs";
  });
  expect(a.condition("l2tptunnel", "clash", "Programmed")).toMatchObject({
    ...notOurs,
    message: expect.stringContaining(
      "tunnel ID 9 belongs to a tunnel that l2tp-cni did not create",
    ),
  });
  expect(a.condition("l2tptunnel", "clash", "Accepted")?.status).toBe("True");
  const rows = await a.ask({ op: "dump" });
  expect(rows).toEqual([
    expect.objectContaining({ tunnelId: 1, sessionId: null, owner: "L2tpTunnel branch" }),
    expect.objectContaining({ sessionId: 128, owner: "L2tpSession shop/lan", type: "Ethernet" }),
    expect.objectContaining({ tunnelId: 9, sessionId: null, owner: null, type: "L2TPv3 UDP" }),
    expect.objectContaining({ sessionId: 900, owner: null, settings: ["cookies=0/4"] }),
    expect.objectContaining({ tunnelId: 12, sessionId: null, owner: null, type: "L2TPv2 UDP" }),
    expect.objectContaining({ sessionId: 13, owner: null, type: "PPP" }),
  ]);
  expect(JSON.stringify(rows)).not.toContain("deadbeef");
  a.remove("clash.yaml");
  await until("the tunnels are removed", async () => (await a.ask({ op: "tunnels" })).length === 1);
  expect(await ip(net.a.name, "l2tp", "show", "tunnel", "tunnel_id", "9")).toContain("Tunnel 9");
  expect(l2tp.getSession(ppp)).toBeDefined();
  await ip(net.a.name, "l2tp", "del", "tunnel", "tunnel_id", "9");
  l2tp.deleteTunnel(12);
  l2tp.close();
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("waits for a route and for the local address, and reports that", async () => {
  const remote = { address: "198.51.100.7", port: 5000 };
  const local = { address: "192.0.2.77", port: 5077 };
  a.write("far.yaml", [
    tunnelObject("far", net.a, net.b, {
      tunnelId: 20,
      local: { address: net.a.ipv4, port: 5020 },
      remote,
    }),
    sessionObject("far", "far", { sessionId: 300, peerSessionId: 300 }),
    tunnelObject("new", net.a, net.b, { tunnelId: 21, local }),
    sessionObject("new", "new", { sessionId: 301, peerSessionId: 301 }),
  ]);
  const reason = (name: string) => a.condition("l2tptunnel", name, "Programmed")?.reason;
  await until(
    "both conditions have their reason",
    () => reason("far") === "NoRoute" && reason("new") === "AddressNotAvailable",
  );
  expect(a.condition("l2tptunnel", "far", "Accepted")?.status).toBe("True");
  await ip(net.a.name, "route", "add", "198.51.100.0/24", "via", net.b.ipv4);
  await ip(net.a.name, "addr", "add", "192.0.2.77/24", "dev", net.a.device);
  await until(
    "both tunnels are programmed",
    () => reason("far") === "Programmed" && reason("new") === "Programmed",
  );
  a.remove("far.yaml");
  await until("the tunnels are removed", async () => (await a.ask({ op: "tunnels" })).length === 1);
  await ip(net.a.name, "addr", "del", "192.0.2.77/24", "dev", net.a.device);
  await ip(net.a.name, "route", "del", "198.51.100.0/24");
});

it("moves two tunnels on one port to userspace, and reports why", async () => {
  a.write("second.yaml", [
    tunnelObject("second", net.a, net.b, {
      tunnelId: 30,
      remote: { address: net.b.ipv4, port: 5001 },
    }),
  ]);
  await until("both are in userspace", async () => {
    const tunnels = await a.ask({ op: "tunnels" });
    return tunnels.length === 2 && tunnels.every(({ datapath }) => datapath === "Userspace");
  });
  await repaired("frames cross in userspace");
  expect(a.condition("l2tptunnel", "branch", "Programmed")?.message).toContain(
    "L2tpTunnel second has the same local address and port",
  );
  a.remove("second.yaml");
  await until("the remaining tunnel is in the kernel", async () => {
    const [tunnel] = await a.ask({ op: "tunnels" });
    return tunnel?.datapath === "Kernel" && (await ping(pod, "10.1.0.2"));
  });
});

it("keeps running objects over a restart when their manifests are invalid", async () => {
  const before = await identity();
  a.write("tunnel.yaml", "kind: L2tpTunnel\nmetadata: {name: branch}\nspec: {bogus: 1}\n");
  a.write("lan.yaml", ":\n  - broken");
  await a.kill();
  await a.start("--resync", "3600");
  expect(await identity()).toEqual(before);
  expect(await ping(pod, "10.1.0.2")).toBe(true);
  a.write("tunnel.yaml", [tunnelObject("branch", net.a, net.b)]);
  a.write("lan.yaml", [sessionObject("lan", "branch")]);
  await until(
    "the tunnel is accepted again",
    async () => a.condition("l2tptunnel", "branch", "Accepted")?.status === "True",
  );
  expect(await identity()).toEqual(before);
});

it("repairs a session by a netlink event, an hour before the next periodic reconcile", async () => {
  await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
  await repaired("the session is recreated");
});

it("has no findings in the end", async () => {
  await ping(pod, "10.1.0.2");
  const program = new URL("../../bin/l2tpctl", import.meta.url).pathname;
  const output = await run([program, "--socket", a.socket, "doctor", "--seconds", "0"]);
  expect(output).toContain("Nothing wrong found");
});
