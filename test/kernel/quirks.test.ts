/** Unexpected behavior of the kernel's L2TP that l2tp-cni relies on or works around. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { L2tpNetlink, type NewKernelSession } from "../../datapath/kernel/l2tp-netlink.ts";
import { probeKernel } from "../../datapath/kernel/support.ts";
import { openTunnelSocket } from "../../datapath/tunnel-socket.ts";
import { checked } from "../../linux/errno.ts";
import { closeFd } from "../../linux/fd.ts";
import { c } from "../../linux/ffi.ts";
import { findLink, setLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { inNetns } from "../../linux/netns.ts";
import { encodeSockaddr } from "../../linux/socket.ts";
import { ethernet } from "../../model/pseudowires/ethernet.ts";
import { experimentalFrame, FramePort } from "../harness/frames.ts";
import { KernelNode, pair, putSession, quieten } from "../harness/kernel-node.ts";
import { ip, link, linksOf, TestNet } from "../harness/net.ts";
import { run, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const FRAME = experimentalFrame(64);

let net: TestNet;
let node: KernelNode;
let l2tp: L2tpNetlink;
let ends: ReturnType<typeof pair>;

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  const restore = await quieten(net.a.name);
  return async () => {
    await restore();
    await net.remove();
  };
});

beforeEach(() => {
  open();
  ends = pair(net, { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" });
  node.list();
});

afterEach(async () => {
  for (const { tunnelId } of l2tp.listTunnels()) l2tp.deleteTunnel(tunnelId);
  await until("all tunnels are deleted", () => l2tp.listTunnels().length === 0);
  await until("all devices are deleted", async () =>
    (await linksOf(net.a.name)).every(({ ifname }) => !/^(l2t|theirs)/.test(ifname)),
  );
  close();
});

function close(): void {
  l2tp.close();
  node.close();
}

function open(): void {
  node = new KernelNode();
  l2tp = L2tpNetlink.open(null);
}

/** Sends datagrams to the tunnel of host a, from any port of host b. */
function sendFrom(port: number, ...payloads: readonly Uint8Array[]): void {
  sendTo(ends.tunnel.local.port, port, ...payloads);
}

function sendTo(toPort: number, port: number, ...payloads: readonly Uint8Array[]): void {
  const fd = inNetns(net.b.netns, () => checked(c.socket(AF_INET, SOCK_DGRAM, 0), "socket"));
  const from = encodeSockaddr({ address: net.b.ipv4, port });
  checked(c.bind(fd, from, from.length), "bind");
  const to = encodeSockaddr({ address: net.a.ipv4, port: toPort });
  for (const payload of payloads) {
    checked(c.sendto(fd, payload, payload.length, 0, to, to.length), "send");
  }
  closeFd(fd);
}

/** An L2TPv3 data message with the default sublayer. @param number the sequence number */
function message(frame: Uint8Array, { cookie = "", number = -1 } = {}): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(0x0003_0000, 0);
  header.writeUInt32BE(ends.session.sessionId, 4);
  const sublayer = Buffer.alloc(4);
  if (number >= 0) sublayer.writeUInt32BE((0x4000_0000 | number) >>> 0);
  return Buffer.concat([header, Buffer.from(cookie, "hex"), sublayer, frame]);
}

const statistics = () => {
  const { tunnelId } = ends.tunnel;
  return l2tp.getSession({ tunnelId, sessionId: ends.session.sessionId })?.statistics;
};

/** A session that l2tp-cni did not create. */
const foreign = (change: Partial<NewKernelSession> = {}): NewKernelSession => ({
  tunnelId: 9,
  sessionId: 900,
  peerSessionId: 900,
  pseudowireType: ethernet.kernel.number,
  l2SpecificSublayer: "Default",
  txCookie: "",
  rxCookie: "",
  interface: "theirs0",
  sendSequence: false,
  receiveSequence: false,
  reorderTimeoutMs: 0,
  lnsMode: false,
  ...change,
});

const foreignTunnel = (tunnelId: number, localPort = 5900) => ({
  tunnelId,
  peerTunnelId: tunnelId,
  protocolVersion: 3,
  encapsulation: "UDP" as const,
  local: net.a.ipv4,
  remote: net.b.ipv4,
  localPort,
  remotePort: 5901,
  udpChecksum: true,
});

it("modifies no field of a tunnel, and only settings of a session", async () => {
  expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
  const before = l2tp.getTunnel(1);
  l2tp.modifyTunnel(1);
  expect(l2tp.getTunnel(1)).toEqual(before);

  const session = l2tp.getSession({ tunnelId: 1, sessionId: 128 });
  const settings = {
    sendSequence: true,
    receiveSequence: true,
    reorderTimeoutMs: 40,
    lnsMode: true,
  };
  l2tp.modifySession({ tunnelId: 1, sessionId: 128 }, settings);
  const after = l2tp.getSession({ tunnelId: 1, sessionId: 128 });
  expect(after).toEqual({ ...session, ...settings });
  l2tp.modifySession({ tunnelId: 1, sessionId: 128 }, { ...settings, reorderTimeoutMs: 0 });
  expect(l2tp.getSession({ tunnelId: 1, sessionId: 128 })?.reorderTimeoutMs).toBe(0);
});

it("deletes asynchronously; the datapath waits, and can recreate repeatedly", async () => {
  const { tunnel, session } = ends;
  for (let round = 0; round < 25; round++) {
    expect(await node.put(tunnel, session)).toEqual([null, null]);
    node.list(tunnel, session);
    const gone = { op: "deleteTunnel", name: tunnel.name } as const;
    const put = { op: "putTunnel", tunnel } as const;
    expect(await node.apply(gone, put, putSession(session))).toEqual([null, null, null]);
    node.list(tunnel, session);
    expect(await node.apply(gone)).toEqual([null]);
    expect(l2tp.getTunnel(tunnel.tunnelId)).toBeUndefined();
  }
});

it("allows a session ID once a node, although the kernel allows duplicates", async () => {
  const { tunnel, session } = ends;
  expect(l2tp.createTunnels([foreignTunnel(9)])).toEqual([null]);
  expect(l2tp.createSessions([foreign({ sessionId: session.sessionId })])).toEqual([null]);
  node.list();
  expect(await node.put(tunnel, session)).toEqual([null, "NotOurs"]);
  // A tunnel with a foreign session must not be deleted.
  expect(
    l2tp.createSessions([foreign({ tunnelId: 1, sessionId: 77, interface: "theirs1" })]),
  ).toEqual([null]);
  expect(await node.put({ ...tunnel, tunnelId: 9 }, session)).toEqual(["NotOurs", "NotOurs"]);
});

it("keeps a tunnel with a foreign session", async () => {
  expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
  expect(l2tp.createSessions([foreign({ tunnelId: 1, sessionId: 77 })])).toEqual([null]);
  node.list(ends.tunnel, ends.session);
  expect(
    await node.apply(
      { op: "deleteSession", key: ends.session.key },
      { op: "deleteTunnel", name: ends.tunnel.name },
    ),
  ).toEqual([null, "NotOurs"]);
  expect(l2tp.listSessions().map(({ sessionId }) => sessionId)).toEqual([77]);
});

it("gives a local port to one tunnel", () => {
  const [first, second] = l2tp.createTunnels([foreignTunnel(9), foreignTunnel(10)]);
  expect([first, second?.code]).toEqual([null, "EADDRINUSE"]);
});

it("requires a route and a local address at creation", () => {
  const [noRoute, noAddress] = l2tp.createTunnels([
    { ...foreignTunnel(9), remote: "198.51.100.1" },
    { ...foreignTunnel(10), local: "192.0.2.99" },
  ]);
  expect([noRoute?.code, noAddress?.code]).toEqual(["ENETUNREACH", "EADDRNOTAVAIL"]);
});

describe("receives", () => {
  it("over UDP from the peer; since Linux 6.12 from the peer of any other tunnel, too", async () => {
    expect(l2tp.createTunnels([foreignTunnel(9)])).toEqual([null]);
    node.list();
    expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(ends.session).name);
    // A connected socket receives from its peer only.
    sendFrom(6666, message(FRAME));
    sendTo(5900, 5901, message(FRAME));
    const last = experimentalFrame(65);
    sendFrom(5001, message(last));
    await until("the peer's frame arrives", () => port.receive()?.length === last.length);
    port.close();
    const isOld = process.env.KERNEL_VM?.startsWith("6.1.") === true;
    expect(statistics()?.rxPackets).toBe(isOld ? 1 : 2);
  });

  it("over IP from any source", async () => {
    ends = pair(net, { encapsulation: "IP", family: 4, cookieBytes: 0, sublayer: "Default" });
    expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(ends.session).name);
    await ip(net.b.name, "addr", "add", "192.0.2.66/24", "dev", net.b.device);
    const fd = inNetns(net.b.netns, () =>
      openTunnelSocket("IP", { address: "192.0.2.66", port: 0 }),
    );
    const to = encodeSockaddr({ address: net.a.ipv4, port: 0 });
    const payload = message(FRAME).subarray(4);
    checked(c.sendto(fd, payload, payload.length, 0, to, to.length), "send");
    closeFd(fd);
    await until("the frame of another source arrives", () => port.receive()?.equals(FRAME));
    port.close();
  });

  it("nothing with a wrong cookie, and counts it", async () => {
    const session = { ...ends.session, rxCookie: "0102030405060708" };
    expect(await node.put(ends.tunnel, session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(session).name);
    sendFrom(5001, message(experimentalFrame(66), { cookie: "ffffffffffffffff" }));
    sendFrom(5001, message(FRAME, { cookie: session.rxCookie }));
    await until("the frame with the right cookie arrives", () => port.receive()?.equals(FRAME));
    port.close();
    expect(statistics()).toMatchObject({ rxPackets: 1, rxCookieDiscards: 1 });
  });

  it("no short datagrams, and does not count them", async () => {
    expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(ends.session).name);
    const whole = message(FRAME);
    sendFrom(5001, ...[0, 1, 3, 4, 8, 11, 12, 13].map((bytes) => whole.subarray(0, bytes)), whole);
    await until("the complete datagram arrives", () => port.receive()?.equals(FRAME));
    port.close();
    expect(statistics()?.rxPackets).toBe(1);
  });

  it("sequence numbers, after which it sends them, too, unless it is LNS, as l2tp-cni's sessions are", async () => {
    expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(ends.session).name);
    sendFrom(5001, message(FRAME, { number: 0 }));
    await until("the frame arrives", () => port.receive()?.equals(FRAME));
    port.close();
    expect(l2tp.getSession({ tunnelId: 1, sessionId: 128 })?.sendSequence).toBe(false);

    node.list(ends.tunnel, ends.session);
    await node.apply({ op: "deleteSession", key: ends.session.key });
    const swayed = foreign({ tunnelId: 1, sessionId: 128, interface: "theirs0" });
    expect(l2tp.createSessions([swayed])).toEqual([null]);
    const index = findLink(node.links, "theirs0")?.index ?? 0;
    setLink(node.links, index, { up: true });
    const other = new FramePort(net.a.netns, "theirs0");
    sendFrom(5001, message(FRAME, { number: 0 }));
    await until("the frame arrives", () => other.receive()?.equals(FRAME));
    other.close();
    expect(l2tp.getSession({ tunnelId: 1, sessionId: 128 })?.sendSequence).toBe(true);
  });

  it("reordered frames in order, and counts lost ones", async () => {
    const sequencing = { send: false, receive: true, reorderTimeoutMs: 100 };
    const session = { ...ends.session, sequencing };
    expect(await node.put(ends.tunnel, session)).toEqual([null, null]);
    const port = new FramePort(net.a.netns, node.raise(session).name);
    const frames = [0, 1, 2, 3, 4].map((number) => experimentalFrame(64 + number));
    const order = [0, 2, 1, 4, 3];
    sendFrom(5001, ...order.map((number) => message(frames[number] ?? FRAME, { number })));
    const sizes: number[] = [];
    await until("all frames arrive", () => {
      for (let frame = port.receive(); frame !== null; frame = port.receive())
        sizes.push(frame.length);
      return sizes.length === frames.length;
    });
    expect(sizes).toEqual([64, 65, 66, 67, 68]);
    // A frame without a sequence number is discarded, since numbers are required.
    sendFrom(5001, message(FRAME));
    await until("the discard is counted", () => statistics()?.rxSeqDiscards === 1);
    port.close();
  });
});

it("multicasts events of all namespaces to everyone, with cookies", () => {
  const listener = L2tpNetlink.open(net.b.netns);
  listener.joinNotifications();
  expect(l2tp.createTunnels([foreignTunnel(9)])).toEqual([null]);
  expect(l2tp.createSessions([foreign({ txCookie: "deadbeef" })])).toEqual([null]);
  expect(listener.socket.drain()).toBe(true);
  listener.close();
});

it("reports no sublayer, but the device's first name, by which the datapath knows the sublayer", async () => {
  const session = { ...ends.session, l2SpecificSublayer: "None" as const };
  expect(await node.put(ends.tunnel, session)).toEqual([null, null]);
  await ip(net.a.name, "link", "set", "l2tn-128", "name", "renamed0");
  const [state] = node.list(ends.tunnel, session).sessions;
  expect(state?.session).toEqual({ ...session, mtu: 0 });
  expect(l2tp.getSession({ tunnelId: 1, sessionId: 128 })?.interface).toBe("l2tn-128");
  await ip(net.a.name, "link", "set", "renamed0", "name", "l2tn-128");
});

it("refuses to delete a device, and moves a deleted namespace's device to the initial one, down", async () => {
  expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
  const deleted = await tryRun(["ip", "link", "del", "l2tp-128"]);
  expect(deleted.stderr).toContain("not supported");
  const pod = await net.addPod("mortal");
  await ip(net.a.name, "link", "set", "l2tp-128", "netns", "mortal-ns").catch(
    () => "the namespace has no name",
  );
  const index = findLink(node.links, "l2tp-128")?.index ?? 0;
  setLink(node.links, index, { netns: pod, name: "net1" });
  await net.removePod(pod);
  const returned = await until("the device is back", () => link(net.a.name, "net1"));
  expect(returned.flags).not.toContain("UP");
  node.list(ends.tunnel, ends.session);
  expect(await node.apply({ op: "deleteSession", key: ends.session.key })).toEqual([null]);
  expect(await link(net.a.name, "net1")).toBeUndefined();
});

it("deletes tunnel, session and device with the tunnel's namespace", async () => {
  await run(["ip", "netns", "add", "short"]);
  await ip("short", "addr", "add", "192.0.2.50/24", "dev", "lo");
  await ip("short", "link", "set", "lo", "up");
  const inside = L2tpNetlink.open("/run/netns/short");
  const ends9 = { ...foreignTunnel(9), local: "192.0.2.50", remote: "192.0.2.50" };
  expect(inside.createTunnels([ends9])).toEqual([null]);
  expect(inside.createSessions([foreign()])).toEqual([null]);
  inside.close();
  const links = new NetlinkSocket(NETLINK_ROUTE, "/run/netns/short");
  setLink(links, findLink(links, "theirs0")?.index ?? 0, { netns: net.b.netns, name: "theirs0" });
  links.close();
  expect(await link(net.b.name, "theirs0")).toBeDefined();
  await run(["ip", "netns", "del", "short"]);
  await until(
    "the device is deleted",
    async () => (await link(net.b.name, "theirs0")) === undefined,
  );
});

it("computes a device's MTU once; l2tp-cni must update it", async () => {
  expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
  const before = (await link(net.a.name, "l2tp-128"))?.mtu;
  await ip(net.a.name, "link", "set", net.a.device, "mtu", "1400");
  expect((await link(net.a.name, "l2tp-128"))?.mtu).toBe(before);
  await ip(net.a.name, "link", "set", net.a.device, "mtu", "1500");
});

it("deletes a managed tunnel with its socket, but not an unmanaged one", async () => {
  const fd = checked(c.socket(AF_INET, SOCK_DGRAM, 0), "socket");
  const from = encodeSockaddr({ address: net.a.ipv4, port: 5950 });
  const to = encodeSockaddr({ address: net.b.ipv4, port: 5951 });
  checked(c.bind(fd, from, from.length), "bind");
  checked(c.connect(fd, to, to.length), "connect");
  const managed = {
    tunnelId: 9,
    peerTunnelId: 9,
    protocolVersion: 3,
    encapsulation: "UDP" as const,
    fd,
  };
  expect(l2tp.createTunnels([managed])).toEqual([null]);
  expect(l2tp.getTunnel(9)).toMatchObject({ local: net.a.ipv4, localPort: 5950, remotePort: 5951 });
  closeFd(fd);
  await until("the tunnel is deleted", () => l2tp.getTunnel(9) === undefined);

  expect(await node.put(ends.tunnel, ends.session)).toEqual([null, null]);
  close();
  open();
  expect(node.list(ends.tunnel, ends.session).tunnels).toHaveLength(1);
});

it("accepts ID 0, which l2tp-cni rejects", () => {
  const [error] = l2tp.createTunnels([foreignTunnel(0)]);
  expect(error).toBeNull();
});

it("lists each session's own cookies, as the kernel's debugfs does", async () => {
  expect(l2tp.createTunnels([foreignTunnel(9)])).toEqual([null]);
  const second = foreign({ sessionId: 901, interface: "theirs1" });
  expect(l2tp.createSessions([foreign({ txCookie: "0102030405060708" }), second])).toEqual([
    null,
    null,
  ]);
  const listed = l2tp.listSessions().sort((x, y) => x.sessionId - y.sessionId);
  expect(listed.map(({ txCookie }) => txCookie)).toEqual(["0102030405060708", ""]);
  const debugfs = readFileSync("/sys/kernel/debug/l2tp/tunnels", "utf8");
  for (const { sessionId } of listed) expect(debugfs).toContain(`SESSION ${sessionId}`);
});

describe("kernel support", () => {
  it("is probed, which loads the modules", async () => {
    const modules = ["l2tp_debugfs", "l2tp_ppp", "l2tp_eth", "l2tp_ip6", "l2tp_ip", "l2tp_netlink"];
    close();
    await run(["modprobe", "-r", ...modules]);
    expect(readFileSync("/proc/modules", "utf8")).not.toMatch(/^l2tp_eth/m);
    const fine = { UDP: null, IPv4: null, IPv6: null, tags: null };
    expect(await probeKernel()).toMatchObject(fine);
    for (const module of ["l2tp_eth", "l2tp_ip", "l2tp_ip6"]) {
      expect(readFileSync("/proc/modules", "utf8")).toMatch(new RegExp(`^${module} `, "m"));
    }
    await run(["modprobe", "l2tp_debugfs"]);
    open();
  });

  it("is missing if modules cannot be loaded, and the reason names the module", async () => {
    close();
    await run(["modprobe", "-r", "l2tp_debugfs", "l2tp_ppp", "l2tp_eth", "l2tp_ip6", "l2tp_ip"]);
    const helper = readFileSync("/proc/sys/kernel/modprobe", "utf8");
    writeFileSync("/proc/sys/kernel/modprobe", "/bin/false\n");
    const path = process.env.PATH;
    process.env.PATH = "/nowhere";
    try {
      expect((await probeKernel()).UDP).toContain("l2tp_netlink");
      process.env.PATH = path;
      await run(["modprobe", "l2tp_netlink"]);
      process.env.PATH = "/nowhere";
      expect((await probeKernel()).UDP).toContain("l2tp_eth");
      process.env.PATH = path;
      await run(["modprobe", "l2tp_eth"]);
      expect(await probeKernel()).toMatchObject({
        UDP: null,
        IPv4: expect.stringContaining("l2tp_ip"),
        IPv6: expect.stringContaining("l2tp_ip6"),
      });
    } finally {
      process.env.PATH = path;
      writeFileSync("/proc/sys/kernel/modprobe", helper);
      await run([
        "modprobe",
        "-a",
        "l2tp_netlink",
        "l2tp_eth",
        "l2tp_ip",
        "l2tp_ip6",
        "l2tp_debugfs",
      ]);
    }
    node = new KernelNode();
    l2tp = L2tpNetlink.open(null);
  });
});
