/** One node whose tunnels are in the kernel, with ip-l2tp(8) at the far end. */
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

/** Of net1 in the pod: all that must stay. */
async function identity() {
  const net1 = await link(pod, "net1");
  const addresses = net1?.addr_info?.filter(({ local }) => local.includes("."));
  return { index: net1?.ifindex, mac: net1?.address, mtu: net1?.mtu, addresses };
}

/** A flood of pings while `work` runs; how many did not come back. */
async function lostWhile(work: () => Promise<void>): Promise<number> {
  let over = false;
  const pings = tryRun(inside(pod, "ping", "-q", "-f", "-w", "120", "10.1.0.2"));
  await work().finally(() => {
    over = true;
  });
  expect(over).toBe(true);
  await tryRun(["pkill", "-INT", "-x", "ping"]);
  const match = /(\d+) packets transmitted, (\d+) received/.exec((await pings).stdout);
  // The last one may have been on its way.
  return Math.max(0, Number(match?.[1]) - Number(match?.[2]) - 1);
}

const repaired = (what: string) =>
  until(what, async () => (await link(pod, "net1")) !== undefined && (await ping(pod, "10.1.0.2")));

it("says that the kernel serves it, and shows its counters", async () => {
  expect(a.condition("l2tptunnel", "branch", "Programmed")?.message).toContain("kernel datapath");
  const session = await a.session("shop/lan");
  expect(session?.counters.rxPackets).toBeGreaterThan(0);
  expect(session?.lastReceivedMsAgo).not.toBeNull();
  expect((await a.ask({ op: "tunnels" }))[0]).toMatchObject({ datapath: "Kernel", sessions: 1 });
});

it("adopts what it finds, without a lost frame and without state files", async () => {
  const before = await identity();
  const lost = await lostWhile(async () => {
    await a.kill();
    await a.start();
  });
  expect(lost).toBe(0);
  expect(await identity()).toEqual(before);
});

it("takes no session from its pod where the attachment cannot be read, until the pod's DEL", async () => {
  const before = await identity();
  await a.kill();
  const path = a.damageAttachment("c1");
  a.log = "";
  const lost = await lostWhile(async () => {
    await a.start();
    await until("the log says so", () => a.log.includes(path));
    a.write("more.yaml", [sessionObject("more", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("another pass has been", () => a.session("shop/more"));
    a.remove("more.yaml");
    await until("and one more", async () => (await a.session("shop/more")) === undefined);
  });
  expect(lost).toBe(0);
  expect(await identity()).toEqual(before);
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect(await link(pod, "net1")).toBeUndefined();
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  await until("frames cross", () => ping(pod, "10.1.0.2"));
});

describe("repairs", () => {
  it("an interface that was moved to the node", async () => {
    await ip(pod, "link", "set", "net1", "netns", "1");
    await repaired("it is back");
  });

  it("a session that was deleted", async () => {
    const before = await identity();
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
    await repaired("it is made again");
    const { index: _, ...rest } = await identity();
    expect(before).toMatchObject(rest);
  });

  it("a session that somebody made otherwise", async () => {
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
    await ip(
      net.a.name,
      ...["l2tp", "add", "session", "tunnel_id", "1", "session_id", "128"],
      ...["peer_session_id", "77", "name", "l2tp-128"],
    ).catch(() => "the agent was faster");
    await repaired("it is made again");
  });

  it("a session beside which somebody has made another of its id", async () => {
    await ip(
      net.a.name,
      ...["l2tp", "add", "session", "tunnel_id", "1", "session_id", "128"],
      ...["peer_session_id", "77", "name", "l2tp-128"],
    ).catch(() => "Linux 6.1 takes none");
    await until("there is one again", async () => {
      const sessions = await ip(net.a.name, "l2tp", "show", "session", "tunnel_id", "1");
      return sessions.match(/Session 128 /g)?.length === 1 && !sessions.includes("peer session 77");
    });
    await repaired("it carries frames");
  });

  it("a tunnel that was deleted", async () => {
    await ip(net.a.name, "l2tp", "del", "tunnel", "tunnel_id", "1");
    await repaired("it is made again");
  });
});

it("changes sequencing in place, and what else must change with the interface's name and addresses", async () => {
  const before = await identity();
  a.write("lan.yaml", [sessionObject("lan", "branch", { sequencing: { send: true } })]);
  await until("it sends numbers", async () =>
    (await ip(net.a.name, "l2tp", "show", "session")).includes("sequence numbering: send"),
  );
  expect(await identity()).toEqual(before);
  expect(await ping(pod, "10.1.0.2")).toBe(true);

  const cookies = { cookies: { transmit: { value: "0102030405060708" } } };
  a.write("lan.yaml", [sessionObject("lan", "branch", cookies)]);
  await until(
    "the cookie costs its bytes",
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
    await until(`${datapath} serves it`, async () => {
      const [tunnel] = await a.ask({ op: "tunnels" });
      return tunnel?.datapath === datapath && (await ping(pod, "10.1.0.2"));
    });
    const { index: __, ...after } = await identity();
    expect(after).toEqual(before);
    const inKernel = (await ip(net.a.name, "l2tp", "show", "tunnel")) !== "";
    expect(inKernel).toBe(datapath === "Kernel");
  }
});

it("brings the device back on DEL, and gives it to the next pod", async () => {
  const index = (await link(pod, "net1"))?.ifindex;
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect(await link(pod, "net1")).toBeUndefined();
  const idle = await link(net.a.name, "l2tp-128");
  expect(idle?.ifindex).toBe(index);
  expect(idle?.flags).not.toContain("UP");
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("heals the death of a pod's namespace without a DEL", async () => {
  const other = await net.addPod("other");
  expect((await call("DEL", pod, "c1")).status).toBe(0);
  expect((await call("ADD", other, "c2")).stdout).toContain("10.1.0.1/24");
  await net.removePod(other);
  await until("the device is at home again", () => link(net.a.name, "l2tp-128"));
  expect((await linksOf(net.a.name)).map(({ ifname }) => ifname)).not.toContain("net1");
  expect((await call("ADD", pod, "c1")).stdout).toContain("10.1.0.1/24");
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("carries VLAN tags and frames that are not IP", async () => {
  for (const [netns, device, address] of [
    [pod, "net1", "10.7.0.1/24"],
    [net.b.name, "peer0", "10.7.0.2/24"],
  ] as const) {
    await ip(netns, "link", "add", "tagged", "link", device, "type", "vlan", "id", "7");
    await ip(netns, "addr", "add", address, "dev", "tagged");
    await ip(netns, "link", "set", "tagged", "up");
  }
  // ARP is none of IP's, and a full frame has its tag beside the MTU.
  await until("tagged frames cross", () => ping(pod, "10.7.0.2"));
  expect(await ping(pod, "10.7.0.2", { size: 1414, args: ["-M", "do"] })).toBe(true);
  await ip(pod, "link", "del", "tagged");
});

it("joins several pods to one session by a bridge", async () => {
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
  await until("it is there", () => link(net.a.name, "l2tp-200"));
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
  await until("it is gone", async () => (await link(net.a.name, "l2tp-200")) === undefined);
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("leaves alone what others made, says when it is in the way, and dumps it all", async () => {
  await ip(
    net.a.name,
    ...["l2tp", "add", "tunnel", "tunnel_id", "9", "peer_tunnel_id", "9", "encap", "udp"],
    ...["local", net.a.ipv4, "remote", net.b.ipv4, "udp_sport", "5009", "udp_dport", "5009"],
  );
  await ip(
    net.a.name,
    ...["l2tp", "add", "session", "tunnel_id", "9", "session_id", "900", "peer_session_id", "900"],
    ...["cookie", "deadbeef", "name", "theirs"],
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
  await until("they are forgotten", async () => (await a.ask({ op: "tunnels" })).length === 1);
  expect(await ip(net.a.name, "l2tp", "show", "tunnel", "tunnel_id", "9")).toContain("Tunnel 9");
  expect(l2tp.getSession(ppp)).toBeDefined();
  await ip(net.a.name, "l2tp", "del", "tunnel", "tunnel_id", "9");
  l2tp.deleteTunnel(12);
  l2tp.close();
  expect(await ping(pod, "10.1.0.2")).toBe(true);
});

it("waits for a route and for the local address, and says so", async () => {
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
    "both say why",
    () => reason("far") === "NoRoute" && reason("new") === "AddressNotAvailable",
  );
  expect(a.condition("l2tptunnel", "far", "Accepted")?.status).toBe("True");
  await ip(net.a.name, "route", "add", "198.51.100.0/24", "via", net.b.ipv4);
  await ip(net.a.name, "addr", "add", "192.0.2.77/24", "dev", net.a.device);
  await until(
    "both are up",
    () => reason("far") === "Programmed" && reason("new") === "Programmed",
  );
  a.remove("far.yaml");
  await until("they are gone", async () => (await a.ask({ op: "tunnels" })).length === 1);
  await ip(net.a.name, "addr", "del", "192.0.2.77/24", "dev", net.a.device);
  await ip(net.a.name, "route", "del", "198.51.100.0/24");
});

it("takes two tunnels on one port to userspace, and says why", async () => {
  a.write("second.yaml", [
    tunnelObject("second", net.a, net.b, {
      tunnelId: 30,
      remote: { address: net.b.ipv4, port: 5001 },
    }),
  ]);
  await until("userspace serves both", async () => {
    const tunnels = await a.ask({ op: "tunnels" });
    return tunnels.length === 2 && tunnels.every(({ datapath }) => datapath === "Userspace");
  });
  await repaired("frames cross in userspace");
  expect(a.condition("l2tptunnel", "branch", "Programmed")?.message).toContain(
    "L2tpTunnel second has the same local address and port",
  );
  a.remove("second.yaml");
  await until("the kernel serves the one that is left", async () => {
    const [tunnel] = await a.ask({ op: "tunnels" });
    return tunnel?.datapath === "Kernel" && (await ping(pod, "10.1.0.2"));
  });
});

it("keeps what runs when its manifests are broken, over a restart", async () => {
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
    "all is well",
    async () => a.condition("l2tptunnel", "branch", "Accepted")?.status === "True",
  );
  expect(await identity()).toEqual(before);
});

it("hears of what others do to its sessions: the next periodic pass is an hour away", async () => {
  await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
  await repaired("it is made again");
});

it("finds nothing wrong in the end", async () => {
  await ping(pod, "10.1.0.2");
  const program = new URL("../../bin/l2tpctl", import.meta.url).pathname;
  const output = await run([program, "--socket", a.socket, "doctor", "--seconds", "0"]);
  expect(output).toContain("Nothing wrong found");
});
