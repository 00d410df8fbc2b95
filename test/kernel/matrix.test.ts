/** Frames between the kernel datapath and peers: ip-l2tp(8), and the userspace datapath. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { L2tpNetlink } from "../../datapath/kernel/l2tp-netlink.ts";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { findLink, setLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { experimentalFrame, FramePort } from "../harness/frames.ts";
import { KernelNode, pair, quieten } from "../harness/kernel-node.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { inside, ip, TestNet } from "../harness/net.ts";
import { Background } from "../harness/run.ts";
import { VARIANTS } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const DATAPATH = fileURLToPath(new URL("../../bin/l2tp-datapath", import.meta.url));
const FAR = "far0";

let net: TestNet;
let node: KernelNode;
let folder: string;
let restore: () => Promise<void>;
let tap: DatapathClient;
let farLinks: NetlinkSocket;
const background = new Background();

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  restore = await quieten(net.a.name, net.b.name);
  node = new KernelNode();
  folder = mkdtempSync(join(tmpdir(), "l2tp-matrix-"));
  const socket = join(folder, "datapath.sock");
  background.start(inside(net.b.name, DATAPATH, "--socket", socket));
  tap = new DatapathClient(socket);
  await until("the datapath answers", () => tap.hello());
  farLinks = new NetlinkSocket(NETLINK_ROUTE, net.b.netns);
});

afterEach(async () => {
  const { tunnels } = node.list();
  await node.apply(
    ...tunnels.map(({ tunnel }) => ({ op: "deleteTunnel", name: tunnel.name }) as const),
  );
  expect(node.list().tunnels).toEqual([]);
  await ip(net.b.name, "l2tp", "del", "tunnel", "tunnel_id", "2").catch(
    () => "the far end is in userspace",
  );
  await tap.apply([{ op: "deleteTunnel", name: "t1" }]);
  await until("the far device is deleted", async () => {
    if (findLink(farLinks, FAR) === undefined) return true;
    await ip(net.b.name, "link", "del", FAR).catch(() => "the kernel deletes its device");
    return false;
  });
});

afterAll(async () => {
  node.close();
  farLinks.close();
  tap.close();
  await background.stopAll();
  await restore();
  await net.remove();
  rmSync(folder, { recursive: true });
});

interface FarEnd {
  make(tunnel: Tunnel, session: Session): Promise<void>;
  counters(session: Session): Promise<Readonly<Record<string, number>>>;
}

const iproute2: FarEnd = {
  async make(tunnel, session) {
    await addKernelPeer(net.b, net.a, {
      encapsulation: tunnel.encapsulation,
      ipVersion: tunnel.local.address.includes(":") ? 6 : 4,
      tunnelId: tunnel.tunnelId,
      peerTunnelId: tunnel.peerTunnelId,
      port: tunnel.local.port,
      remotePort: tunnel.remote.port,
      udpChecksum: tunnel.udpChecksum,
      sessionId: session.sessionId,
      peerSessionId: session.peerSessionId,
      txCookie: session.txCookie,
      rxCookie: session.rxCookie,
      sublayer: session.l2SpecificSublayer === "Default" ? "default" : "none",
      sequencing: session.sequencing.send ? "both" : "none",
      name: FAR,
    });
  },
  async counters({ sessionId }) {
    const l2tp = L2tpNetlink.open(net.b.netns);
    const found = l2tp.getSession({ tunnelId: 2, sessionId });
    l2tp.close();
    if (found === undefined) throw new Error("the far end has no session");
    // The kernel's byte counter includes the L2TP header.
    const { rxPackets, txPackets } = found.statistics;
    return { rxPackets, txPackets };
  },
};

const userspace: FarEnd = {
  async make(tunnel, session) {
    const device = { netns: null, name: FAR };
    const replies = await tap.apply([
      { op: "putTunnel", tunnel },
      { op: "putSession", session, device },
    ]);
    expect(replies).toEqual([{ result: null }, { result: null }]);
    const index = findLink(farLinks, FAR)?.index ?? 0;
    setLink(farLinks, index, { mtu: session.mtu });
    setLink(farLinks, index, { up: true });
  },
  async counters({ key }) {
    const [found] = (await tap.list([key])).sessions;
    if (found === undefined) throw new Error("the far end has no session");
    const { rxPackets, rxBytes, txPackets, txBytes } = found.counters;
    return { rxPackets, rxBytes, txPackets, txBytes };
  },
};

/** Sends frames of the sizes, and waits until each arrives unchanged. */
async function expectFrames(
  from: FramePort,
  to: FramePort,
  sizes: readonly number[],
): Promise<void> {
  const missing = new Map(sizes.map((bytes) => [bytes, experimentalFrame(bytes)]));
  for (const frame of missing.values()) from.send(frame);
  await until(`frames of ${sizes.join(", ")} bytes arrive`, () => {
    for (let frame = to.receive(); frame !== null; frame = to.receive()) {
      if (missing.get(frame.length)?.equals(frame)) missing.delete(frame.length);
    }
    return missing.size === 0;
  });
}

/** Builds both ends, exchanges frames of many sizes, and compares the counters of both. */
async function exchange(farEnd: FarEnd, ends: ReturnType<typeof pair>): Promise<void> {
  const { tunnel, session, far } = ends;
  node.list();
  expect(await node.put(tunnel, session)).toEqual([null, null]);
  await farEnd.make(far.tunnel, far.session);
  const device = node.raise(session);
  // The kernel and l2tp-cni compute the same MTU.
  expect(device.mtu).toBe(session.mtu);

  const [near, distant] = [
    new FramePort(net.a.netns, device.name),
    new FramePort(net.b.netns, FAR),
  ];
  const largest = session.mtu + 14;
  const sizes = [60, 61, 62, 63, 64, 127, 128, 700, largest - 1, largest];
  await expectFrames(near, distant, sizes);
  await expectFrames(distant, near, sizes);
  near.close();
  distant.close();

  const [state] = node.list(tunnel, session).sessions;
  expect(state?.session).toEqual({ ...session, mtu: 0 });
  const counted = await farEnd.counters(far.session);
  const packets = sizes.length;
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const crossed = { rxPackets: packets, rxBytes: bytes, txPackets: packets, txBytes: bytes };
  expect(state?.counters).toMatchObject({ ...crossed, rxErrors: 0, txErrors: 0 });
  expect(crossed).toMatchObject(counted);
}

const farEnds: [string, FarEnd][] = [
  ["ip l2tp", iproute2],
  ["the TAP datapath", userspace],
];

describe.each(farEnds)("with %s at the far end", (_name, farEnd) => {
  it.each(VARIANTS)(
    "forwards $encapsulation over IPv$family, cookies of $cookieBytes, sublayer $sublayer",
    (variant) => exchange(farEnd, pair(net, variant)),
  );

  const base = { encapsulation: "UDP", cookieBytes: 8, sublayer: "Default" } as const;

  it.each([4, 6] as const)("forwards UDP over IPv%i without checksums", (family) =>
    exchange(farEnd, pair(net, { ...base, family }, { tunnel: { udpChecksum: false } })),
  );

  it("forwards frames with sequence numbers, and reorders them", () => {
    const sequencing = { send: true, receive: true, reorderTimeoutMs: 20 };
    return exchange(farEnd, pair(net, { ...base, family: 4 }, { session: { sequencing } }));
  });
});
