/** Adds a pseudowire type with one file, its registration and the API's enum. Frames cross in the process. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { link, ping } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { check, compilerSays, generateTypes, pairForEach } from "../harness/seam-pair.ts";
import { SourceTree } from "../harness/tree.ts";
import { datagramOfPing } from "../harness/tshark.ts";
import { until } from "../harness/wait.ts";

/** A type with four bytes in front of each Ethernet frame. Received frames without them are dropped. */
const SHIM = `
import { ETHERNET_HEADER_BYTES } from "../../net/headers.ts";
import { DROPPED, type FrameMemory, type PseudowireType, TAP } from "./pseudowire.ts";

const SHIM_BYTES = 4;
const SHIM = 0x53484d21;

export const shim = {
  name: "Shim",
  number: 0x7ff0,
  device: TAP,
  wireHeaderBytes: SHIM_BYTES + ETHERNET_HEADER_BYTES,
  minFrameBytes: SHIM_BYTES + ETHERNET_HEADER_BYTES,
  kernel: { whyNot: "the kernel's L2TP knows no shims" },
  hasOffloads: false,
  hasFastPath: false,
  createRewriter: () => ({
    toWire({ view }: FrameMemory, at: number) {
      view.setUint32(at - SHIM_BYTES, SHIM);
      return at - SHIM_BYTES;
    },
    fromWire: ({ view }: FrameMemory, at: number) =>
      view.getUint32(at) === SHIM ? at + SHIM_BYTES : DROPPED,
  }),
} as const satisfies PseudowireType;
`;
/** A type with bare IP datagrams, over a TUN device. */
const DATAGRAM = `
import { IPV4_HEADER_BYTES } from "../../net/headers.ts";
import { type PseudowireType, TUN } from "./pseudowire.ts";

export const datagram = {
  name: "Datagram",
  number: 0x7ff1,
  device: TUN,
  wireHeaderBytes: 0,
  minFrameBytes: IPV4_HEADER_BYTES,
  kernel: { whyNot: "the kernel's L2TP knows no datagrams" },
  hasOffloads: false,
  hasFastPath: false,
} as const satisfies PseudowireType;
`;
const SHIM_HEX = "53484d21";

/** A test of resolve with the type, for a kernel with L2TP. */
const RESOLVE_TEST = `
import { expect, it } from "vitest";
import { API_VERSION, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { resolve } from "./resolve.ts";

const shim: L2tpSession = {
  apiVersion: API_VERSION, kind: "L2tpSession", metadata: { name: "lan", namespace: "shop" },
  spec: { tunnelRef: { name: "t" }, peerSessionId: 1, pseudowireType: "Shim" },
};
const resolved = (datapath: "Kernel" | "Auto") => {
  const tunnel: L2tpTunnel = {
    apiVersion: API_VERSION, kind: "L2tpTunnel", metadata: { name: "t" },
    spec: { nodeName: "here", remote: { address: "192.0.2.2" }, peerTunnelId: 1, datapath },
  };
  return resolve(
    { tunnels: new Map([["t", tunnel]]), sessions: new Map([["shop/lan", shim]]), rejections: [] },
    {
      nodeName: "here",
      underlay: {
        route: () => ({ source: "192.0.2.1", mtu: 1500 }),
        interfaceAddress: () => undefined,
      } as never,
      secrets: () => "",
      datapaths: { preferred: null, kernel: { UDP: null, IPv4: null, IPv6: null } },
      programmed: { tunnels: new Map(), kernelTunnels: new Set(), sessions: new Map(), underlayMtus: new Map() },
    },
  );
};

it("is refused in the kernel with the type's reason, and moves a tunnel of datapath Auto to userspace", () => {
  const message = resolved("Kernel").refusedSessions.get("shop/lan")?.message;
  expect(message).toContain('spec.pseudowireType: "Shim"');
  expect(message).toContain("the kernel's L2TP knows no shims");
  expect(resolved("Auto").tunnels.get("t")?.tunnel.datapath).toBe("Userspace");
  expect(resolved("Auto").sessions.get("shop/lan")?.session.pseudowireType).toBe("Shim");
});
`;

let tree: SourceTree;
const pair = pairForEach(() => tree);

beforeAll(() => {
  tree = new SourceTree();
  tree.add("model/pseudowires/shim.ts", SHIM);
  tree.add("model/pseudowires/datagram.ts", DATAGRAM);
  const registry = "model/pseudowires/index.ts";
  const end = "] as const satisfies readonly PseudowireType[];";
  tree.replace(registry, end, `, shim, datagram${end}`);
  tree.replace(
    registry,
    'from "./ethernet.ts";',
    'from "./ethernet.ts";\nimport { shim } from "./shim.ts";\nimport { datagram } from "./datagram.ts";',
  );
});

afterAll(() => tree.remove());

it("makes the compiler report the API's enum, and nothing else", () => {
  expect(compilerSays(tree)).toEqual(["operator/resolve/session-kind.ts"]);
  tree.replace("crds/l2tpsessions.yaml", "enum: [Ethernet,", "enum: [Shim, Datagram, Ethernet,");
  generateTypes(tree);
  tree.add("operator/resolve/shim.test.ts", RESOLVE_TEST);
  check(tree, "operator/resolve/shim.test.ts");
});

const type = { pseudowireType: "Shim" as "Ethernet" };

it("forwards rewritten frames between pods, up to the reduced MTU", async () => {
  const { a, b } = pair().net;
  const session = sessionObject("lan", "branch", type);
  pair().write([tunnelObject("branch", a, b), session], [tunnelObject("branch", b, a), session]);
  await pair().start();
  await pair().attach();
  await pair().crosses();
  const mtu = (await link(pair().pods[0], "net1"))?.mtu ?? 0;
  // IPv4, UDP, L2TP with its sublayer, the shim and the Ethernet header.
  expect(mtu).toBe(1500 - 20 - 8 - 12 - 4 - 14);
  const args = ["-M", "do"];
  expect(await ping(pair().pods[0], "10.1.0.2", { count: 20, size: mtu - 28, args })).toBe(true);
  const row = await pair().agents[0].session("shop/lan");
  expect(row?.counters).toMatchObject({ rxErrors: 0, rxInvalid: 0 });
  expect(await datagramOfPing(a.name, pair().pods[0])).toContain(SHIM_HEX);
  const why = pair().agents[0].condition("l2tptunnel", "branch", "Programmed")?.message;
  expect(why).toContain("the kernel's L2TP knows no shims");
});

it("forwards bare IP datagrams, by a TUN device", async () => {
  const { a, b } = pair().net;
  const session = sessionObject("lan", "branch", { pseudowireType: "Datagram" as "Ethernet" });
  pair().write([tunnelObject("branch", a, b), session], [tunnelObject("branch", b, a), session]);
  await pair().start();
  await pair().attach();
  await pair().crosses();
  const device = await link(pair().pods[0], "net1");
  expect(device).toMatchObject({ mtu: 1500 - 20 - 8 - 12, link_type: "none" });
  const row = await pair().agents[0].session("shop/lan");
  expect(row?.counters).toMatchObject({ rxErrors: 0, rxInvalid: 0 });
  // The restarted process reopens the existing device.
  process.kill(await pair().agents[0].datapathPid(), "SIGKILL");
  await pair().crosses();
});

it("is negotiated by a managed tunnel, and rejected by a peer with another type", async () => {
  const { a, b } = pair().net;
  const control = { hello: { interval: "1s", deadAfter: "3s" } };
  const left = managedTunnel("branch", a, b, control);
  const right = managedTunnel("branch", b, a, { ...control, initiate: false, role: "LNS" });
  const sequencing = { send: true, receive: true, reorderTimeout: "20ms" };
  const shim = managedSession("lan", "branch", { ...type, sequencing });
  pair().write([left, shim], [right, managedSession("lan", "branch")]);
  await pair().start();
  const established = () => pair().agents[0].condition("l2tpsession", "shop/lan", "Established");
  await until("the peer rejects the session", () =>
    established()?.message.includes("unsupported pseudowire type"),
  );
  pair().write([left, shim], [right, shim]);
  await pair().attach();
  await pair().crosses();
  expect(await datagramOfPing(a.name, pair().pods[0])).toContain(SHIM_HEX);
});
