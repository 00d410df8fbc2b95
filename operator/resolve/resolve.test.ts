import { describe, expect, it } from "vitest";
import { withoutKernel } from "../../datapath/kernel/support.ts";
import type { SessionSpec, TunnelSpec } from "../api/types.ts";
import { API_VERSION, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { type HeldObjects, heldAfter, NOTHING_HELD, type Unreadable } from "./held.ts";
import { keepLastValid, type ResolveContext, resolve } from "./resolve.ts";
import type { Resolved } from "./resolved.ts";
import { sessionStatus, tunnelStatus } from "./status.ts";

const tunnel = (name: string, spec: Partial<TunnelSpec> = {}): L2tpTunnel => ({
  apiVersion: API_VERSION,
  kind: "L2tpTunnel",
  metadata: { name },
  spec: {
    nodeName: "here",
    encapsulation: "UDP",
    remote: { address: "192.0.2.2" },
    peerTunnelId: 1,
    ...spec,
  },
});
const session = (
  name: string,
  spec: Partial<SessionSpec> = {},
  namespace = "shop",
): L2tpSession => ({
  apiVersion: API_VERSION,
  kind: "L2tpSession",
  metadata: { name, namespace },
  spec: { tunnelRef: { name: "t" }, peerSessionId: 1, ...spec },
});

const NOTHING: ResolveContext["programmed"] = {
  tunnels: new Map(),
  kernelTunnels: new Set(),
  sessions: new Map(),
  underlayMtus: new Map(),
};

const noDevices = { deviceToBind: () => null };

function resolved(
  tunnels: readonly L2tpTunnel[],
  sessions: readonly L2tpSession[] = [],
  change: Partial<ResolveContext> = {},
) {
  const intake = {
    tunnels: new Map(tunnels.map((item) => [item.metadata.name, item])),
    sessions: new Map(
      sessions.map((item) => [`${item.metadata.namespace}/${item.metadata.name}`, item]),
    ),
    rejections: [],
  };
  return resolve(intake, {
    nodeName: "here",
    underlay: {
      ...noDevices,
      route: () => ({ source: "192.0.2.1", mtu: 1500, type: "unicast" }),
      interfaceAddress: (name) => (name === "eth0" ? "192.0.2.77" : undefined),
    },
    secrets: () => {
      throw new Error("no such secret");
    },
    datapaths: { preferred: null, kernel: withoutKernel("no kernel here") },
    programmed: NOTHING,
    ...change,
  });
}

const noRoute: ResolveContext["underlay"] = {
  ...noDevices,
  route() {
    throw Object.assign(new Error("no"), { code: "ENETUNREACH" });
  },
  interfaceAddress: () => undefined,
};

it("fills in what the node knows: local address, port, ids, MTU", () => {
  const { tunnels, sessions } = resolved([tunnel("t")], [session("lan")]);
  const { tunnel: made, underlayMtu } = tunnels.get("t") ?? {};
  expect(made).toMatchObject({
    local: { address: "192.0.2.1", port: 1701 },
    remote: { address: "192.0.2.2", port: 1701 },
    udpChecksum: true,
    fastPath: false,
  });
  expect(made?.tunnelId).toBeGreaterThan(0);
  expect(underlayMtu).toBe(1500);
  expect(sessions.get("shop/lan")?.session).toMatchObject({ mtu: 1446, tunnel: "t" });
  // The same in every pass, and after a restart.
  expect(resolved([tunnel("t")], [session("lan")])).toEqual({
    tunnels,
    sessions,
    refusedTunnels: new Map(),
    refusedSessions: new Map(),
  });
});

it("resolves only objects of this node, and reports sessions without a tunnel", () => {
  const away = tunnel("away", { nodeName: "there" });
  const { tunnels, sessions, refusedSessions } = resolved(
    [away, tunnel("t")],
    [
      session("foreign", { tunnelRef: { name: "away" } }),
      session("lost", { tunnelRef: { name: "x" } }),
    ],
  );
  expect([...tunnels.keys()]).toEqual(["t"]);
  expect(sessions.size).toBe(0);
  expect([...refusedSessions.keys()]).toEqual(["shop/lost"]);
  expect(refusedSessions.get("shop/lost")).toMatchObject({
    condition: "Accepted",
    reason: "NoTunnel",
  });
});

it("finds the local address of an interface, and reports an interface without one", () => {
  const local = (name: string) => resolved([tunnel("t", { local: { interface: name } })]);
  expect(local("eth0").tunnels.get("t")?.tunnel.local.address).toBe("192.0.2.77");
  expect(local("eth9").refusedTunnels.get("t")).toMatchObject({
    condition: "Programmed",
    message: expect.stringContaining("interface eth9 has no IPv4 address"),
  });
});

it("keeps a tunnel with a local address without a route, with its previous MTU", () => {
  const given = tunnel("t", { local: { address: "192.0.2.1" } });
  const programmed = {
    ...NOTHING,
    tunnels: new Map([["t", 1]]),
    underlayMtus: new Map([["t", 9000]]),
  };
  const { tunnels } = resolved([given], [], { underlay: noRoute, programmed });
  expect(tunnels.get("t")).toMatchObject({
    underlayMtu: 9000,
    noRoute: expect.stringContaining("ENETUNREACH"),
  });
  const { refusedTunnels } = resolved([tunnel("t")], [], { underlay: noRoute });
  expect(refusedTunnels.get("t")).toMatchObject({ condition: "Programmed", reason: "NoRoute" });
});

it("refuses a tunnel whose chosen local address is the remote", () => {
  const { refusedTunnels } = resolved([tunnel("t", { remote: { address: "192.0.2.1" } })]);
  expect(refusedTunnels.get("t")?.message).toContain("remote and local endpoint are the same");
});

it("accepts a link-local remote with an interface, unless the address is the interface's own", () => {
  const near = tunnel("t", { local: { interface: "eth0" }, remote: { address: "fe80::2" } });
  const on = (local: string) => ({
    route: () => ({ source: local, mtu: 1500, type: "unicast" }),
    interfaceAddress: () => local,
    deviceToBind: () => ({ name: "eth0", index: 7 }),
  });
  const { tunnels } = resolved([near], [], { underlay: on("fe80::1") });
  expect(tunnels.get("t")?.tunnel).toMatchObject({
    local: { address: "fe80::1" },
    device: { name: "eth0", index: 7 },
  });
  const { refusedTunnels } = resolved([near], [], { underlay: on("fe80::2") });
  expect(refusedTunnels.get("t")?.message).toContain("remote and local endpoint are the same");
});

it("lets a programmed session win a conflict, whatever its name", () => {
  const two = [session("a", { sessionId: 7 }), session("b", { sessionId: 7 })];
  expect([...resolved([tunnel("t")], two).refusedSessions.keys()]).toEqual(["shop/b"]);
  const programmed = { ...NOTHING, sessions: new Map([["shop/b", 7]]) };
  const { refusedSessions } = resolved([tunnel("t")], two, { programmed });
  expect(refusedSessions.get("shop/a")).toMatchObject({ reason: "Conflict" });
});

it("allocates no ID that a spec sets", () => {
  const free = resolved([tunnel("t")], [session("lan")]).sessions.get("shop/lan")?.session
    .sessionId;
  const taken = session("other", { sessionId: free ?? 0 });
  const { sessions, refusedSessions } = resolved([tunnel("t")], [session("lan"), taken]);
  expect(refusedSessions.size).toBe(0);
  expect(sessions.get("shop/lan")?.session.sessionId).not.toBe(free);
});

it("reads cookies from secrets, and reports their faults without showing them", () => {
  const reference = { valueFrom: { secretKeyRef: { name: "s", key: "k" } } };
  const lan = session("lan", { cookies: { receive: reference } });
  const having = (text: string) => resolved([tunnel("t")], [lan], { secrets: () => `${text}\n` });
  expect(having("A1B2C3D4").sessions.get("shop/lan")?.session.rxCookie).toBe("a1b2c3d4");
  const bad = having("a1b2c3d4e5").refusedSessions.get("shop/lan");
  expect(bad).toMatchObject({ condition: "Accepted", reason: "InvalidSecret" });
  expect(bad?.message).not.toContain("a1b2");
  expect(resolved([tunnel("t")], [lan]).refusedSessions.get("shop/lan")).toMatchObject({
    condition: "Programmed",
    reason: "NoSecret",
  });
});

it("refuses sessions of namespaces that the tunnel does not allow", () => {
  const matchLabels = { "kubernetes.io/metadata.name": "shop" };
  const picky = tunnel("t", { allowedNamespaces: { from: "Selector", selector: { matchLabels } } });
  const { sessions, refusedSessions } = resolved(
    [picky],
    [session("lan"), session("lan", {}, "other")],
  );
  expect([...sessions.keys()]).toEqual(["shop/lan"]);
  expect(refusedSessions.get("other/lan")).toMatchObject({ reason: "NamespaceNotAllowed" });
});

it("keeps allocated IDs when a later spec sets one of them", () => {
  const first =
    resolved([tunnel("t")], [session("lan")]).sessions.get("shop/lan")?.session.sessionId ?? 0;
  const programmed = { ...NOTHING, sessions: new Map([["shop/lan", first]]) };
  const greedy = session("greedy", { sessionId: first });
  const { sessions, refusedSessions } = resolved([tunnel("t")], [greedy, session("lan")], {
    programmed,
  });
  expect(sessions.get("shop/lan")?.session.sessionId).toBe(first);
  expect(refusedSessions.get("shop/greedy")).toMatchObject({ reason: "Conflict" });
});

it("blames the tunnel for a session whose tunnel is invalid", () => {
  const rejections = [{ origin: "t.yaml", kind: "L2tpTunnel", key: "t", problems: [] }];
  const intake = {
    tunnels: new Map(),
    sessions: new Map([["shop/lan", session("lan")]]),
    rejections,
  };
  const secrets = () => "";
  const datapaths = { preferred: null, kernel: withoutKernel("no kernel here") };
  const context = { nodeName: "here", underlay: noRoute, secrets, datapaths, programmed: NOTHING };
  expect(resolve(intake, context).refusedSessions.get("shop/lan")).toMatchObject({
    condition: "Programmed",
    reason: "TunnelInvalid",
  });
});

it("refuses a new session with the ID of a retained session", () => {
  const all = resolved([tunnel("t")], [session("new", { sessionId: 7 })]);
  const programmed = { ...NOTHING, sessions: new Map([["shop/old", 7]]) };
  const retained = keepLastValid(all, programmed, () => true);
  expect(retained.sessions.size).toBe(0);
  expect(retained.refusedSessions.get("shop/new")?.message).toContain("shop/old");
  // A deleted session is not retained.
  expect(keepLastValid(all, programmed, () => false).sessions.size).toBe(1);
});

it("requires a route to one of the remotes, and uses the smallest path MTU", () => {
  const backup = [{ address: "192.0.2.3" }, { address: "192.0.2.4" }];
  const object = tunnel("t", { control: {}, backup });
  delete object.spec.peerTunnelId;
  const mtus: Record<string, number> = { "192.0.2.3": 1500, "192.0.2.4": 1400 };
  const underlay: ResolveContext["underlay"] = {
    ...noRoute,
    route(remote) {
      const mtu = mtus[remote];
      if (mtu === undefined) throw Object.assign(new Error("no"), { code: "ENETUNREACH" });
      return { source: "192.0.2.1", mtu, type: "unicast" };
    },
  };
  const { tunnels } = resolved([object], [], { underlay });
  expect(tunnels.get("t")).toMatchObject({
    tunnel: { local: { address: "192.0.2.1" } },
    underlayMtu: 1400,
    noRoute: "no route to 192.0.2.2 (ENETUNREACH)",
  });
});

const HELD: Partial<SessionSpec> = { attachment: { macSpoofing: "Refuse" } };
const IN_KERNEL = { preferred: null, kernel: { UDP: null, IPv4: null, IPv6: null } };

it("keeps a new tunnel out of the kernel if a session refuses MAC spoofing", () => {
  const change = { datapaths: IN_KERNEL };
  const { tunnels, sessions } = resolved([tunnel("t")], [session("lan", HELD)], change);
  expect(tunnels.get("t")).toMatchObject({
    tunnel: { datapath: "Userspace" },
    notInKernel: expect.stringContaining("L2tpSession shop/lan has attachment.macSpoofing"),
  });
  expect(sessions.has("shop/lan")).toBe(true);
});

it("keeps a programmed tunnel in the kernel when a session requires userspace", () => {
  const all = [session("lan"), session("held", { ...HELD, sessionId: 9 })];
  const programmed = {
    ...NOTHING,
    tunnels: new Map([["t", 1]]),
    kernelTunnels: new Set(["t"]),
  };
  const { tunnels, sessions, refusedSessions } = resolved([tunnel("t")], all, {
    datapaths: IN_KERNEL,
    programmed,
  });
  expect(tunnels.get("t")?.tunnel.datapath).toBe("Kernel");
  expect([...sessions.keys()]).toEqual(["shop/lan"]);
  expect(refusedSessions.get("shop/held")).toMatchObject({
    condition: "Programmed",
    reason: "NoNodeSide",
    message: expect.stringContaining("spec.datapath: Userspace"),
  });
});

it.each([
  ["mode Bridge", { attachment: { mode: "Bridge", macSpoofing: "Refuse" } }, {}],
  ["a namespace that the tunnel does not allow", HELD, { from: "Selector" }],
] as const)("leaves a tunnel in the kernel: macSpoofing in %s", (_what, spec, namespaces) => {
  const selector = { matchLabels: { "kubernetes.io/metadata.name": "elsewhere" } };
  const isOpen = Object.keys(namespaces).length === 0;
  const object = tunnel("t", isOpen ? {} : { allowedNamespaces: { ...namespaces, selector } });
  const { tunnels } = resolved([object], [session("lan", spec)], { datapaths: IN_KERNEL });
  expect(tunnels.get("t")?.tunnel.datapath).toBe("Kernel");
});

it("displaces no tunnel from its port by datapath Kernel", () => {
  const kernel = { UDP: null, IPv4: null, IPv6: null };
  const datapaths = { preferred: null, kernel };
  const remote = { remote: { address: "192.0.2.3" } };
  const two = [tunnel("asks", { datapath: "Kernel" }), tunnel("runs", remote)];
  const tunnels = new Map([["runs", 1]]);
  const { refusedTunnels } = resolved(two, [], { datapaths, programmed: { ...NOTHING, tunnels } });
  expect([...refusedTunnels.keys()]).toEqual(["asks"]);
  // A tunnel in the kernel stays, too.
  const all = {
    ...NOTHING,
    tunnels: new Map([
      ["runs", 1],
      ["asks", 2],
    ]),
  };
  const programmed = { ...all, kernelTunnels: new Set(["asks"]) };
  expect([...resolved(two, [], { datapaths, programmed }).refusedTunnels.keys()]).toEqual(["runs"]);
});

it("puts a tunnel with a control connection into the kernel only if its spec asks for it", () => {
  const kernel = { UDP: null, IPv4: null, IPv6: null };
  const managed = (name: string, change: object) => {
    const object = tunnel(name, { control: {}, ...change });
    delete object.spec.peerTunnelId;
    return object;
  };
  const asks = { datapath: "Kernel" } as const;
  const remote = { remote: { address: "192.0.2.3" } };
  const objects = [managed("asks", asks), managed("also", { ...asks, ...remote })];
  const both = resolved(objects, [], { datapaths: { preferred: null, kernel } });
  // Each has its own socket on the one port.
  expect(both.refusedTunnels).toEqual(new Map());
  expect([...both.tunnels.values()].map((item) => item.tunnel.datapath)).toEqual([
    "ManagedKernel",
    "ManagedKernel",
  ]);
  const open = [managed("asks", asks), managed("open", remote)];
  const mixed = resolved(open, [], { datapaths: { preferred: null, kernel } });
  expect(mixed.refusedTunnels.get("open")?.message).toContain("which cannot share ports");
  const auto = resolved([managed("open", {})], [], { datapaths: { preferred: null, kernel } });
  expect(auto.tunnels.get("open")).toMatchObject({
    tunnel: { datapath: "Userspace" },
    notInKernel: expect.stringContaining("only with spec.datapath Kernel"),
  });
});

it("puts a tunnel with fastPath into userspace even if the kernel supports it", () => {
  const kernel = { UDP: null, IPv4: null, IPv6: null };
  const datapaths = { preferred: null, kernel };
  const fast = tunnel("fast", { udpChecksum: false, fastPath: true });
  const plain = tunnel("plain", { local: { port: 1 } });
  const { tunnels } = resolved([fast, plain], [], { datapaths });
  expect(tunnels.get("plain")?.tunnel.datapath).toBe("Kernel");
  expect(tunnels.get("fast")?.tunnel).toMatchObject({ datapath: "Userspace", fastPath: true });
  const forced = resolved([fast], [], { datapaths: { preferred: "Kernel", kernel } });
  expect(forced.refusedTunnels.get("fast")?.message).toContain("the fast path");
});

describe("a session of type EthernetVLAN", () => {
  const vlan: Partial<SessionSpec> = { pseudowireType: "EthernetVLAN", vlan: { id: 100 } };
  const kernel = { UDP: null, IPv4: null, IPv6: null, tags: null };
  const lacking = { ...kernel, tags: "this kernel cannot load its module act_vlan" };

  it("has its VLAN, and an MTU with room for the tag", () => {
    const { sessions } = resolved(
      [tunnel("t")],
      [
        session("lan", vlan),
        session("other", { ...vlan, vlan: { id: 1, peerId: 2, pod: "Tagged" } }),
      ],
    );
    expect(sessions.get("shop/lan")?.session).toMatchObject({
      pseudowireType: "EthernetVLAN",
      vlan: { id: 100, peerId: 100, pod: "Untagged" },
      mtu: 1442,
    });
    const { session: other } = sessions.get("shop/other") ?? {};
    expect(other?.vlan).toEqual({ id: 1, peerId: 2, pod: "Tagged" });
  });

  it("is in the kernel if tc can rewrite tags, else in userspace, with the reason", () => {
    const open = (support: typeof lacking | typeof kernel) =>
      resolved([tunnel("t")], [session("lan", vlan)], {
        datapaths: { preferred: null, kernel: support },
      }).tunnels.get("t");
    expect(open(kernel)?.tunnel.datapath).toBe("Kernel");
    expect(open(lacking)).toMatchObject({
      tunnel: { datapath: "Userspace" },
      notInKernel: expect.stringMatching(/L2tpSession shop\/lan .*EthernetVLAN: .*act_vlan/),
    });
  });

  it("is refused if its tunnel's kernel cannot rewrite tags, without effect on other sessions", () => {
    const { sessions, refusedSessions } = resolved(
      [tunnel("t", { datapath: "Kernel" })],
      [session("lan", vlan), session("plain")],
      { datapaths: { preferred: null, kernel: lacking } },
    );
    expect([...sessions.keys()]).toEqual(["shop/plain"]);
    expect(refusedSessions.get("shop/lan")).toMatchObject({
      condition: "Programmed",
      reason: "NotInKernel",
      message: expect.stringContaining("act_vlan"),
    });
  });

  it("is signaled as type 4", () => {
    const managed = tunnel("t", { control: {} });
    delete managed.spec.peerTunnelId;
    const lan = session("lan", vlan);
    delete lan.spec.peerSessionId;
    const { sessions } = resolved([managed], [lan]);
    expect(sessions.get("shop/lan")?.session.control?.pseudowireType).toBe(4);
  });
});

describe("claims", () => {
  const managed = (name = "t", change: Partial<TunnelSpec> = {}) => {
    const object = tunnel(name, { control: {}, ...change });
    delete object.spec.peerTunnelId;
    return object;
  };
  const open = (name: string, spec: Partial<SessionSpec> = {}, namespace = "shop") => {
    const object = session(name, spec, namespace);
    delete object.spec.peerSessionId;
    return object;
  };
  const none = { tunnels: () => false, sessions: () => false };
  const NOW = "2026-01-05T00:00:00Z";
  const heldIn = (all: Resolved, before: HeldObjects = NOTHING_HELD, retained: Unreadable = none) =>
    heldAfter(before, all, retained, NOW);
  const endIdOf = (all: Resolved, key: string) =>
    all.sessions.get(key)?.session.control?.remoteEndId;
  const refusals = (all: Resolved) =>
    Array.from(all.refusedSessions, ([key, { reason }]) => `${key} ${reason}`);

  it("differ for sessions of one name in two namespaces", () => {
    const all = resolved([managed()], [open("lan"), open("lan", {}, "bakery")]);
    expect(all.refusedSessions.size).toBe(0);
    expect(endIdOf(all, "shop/lan")).toBe("shop/lan");
    expect(endIdOf(all, "bakery/lan")).toBe("bakery/lan");
  });

  it("are the same for a Remote End ID as octets and as text", () => {
    const octets = resolved([managed()], [open("lan", { remoteEndIdOctets: "0x002A" })]);
    expect(endIdOf(octets, "shop/lan")).toBe("\u0000*");
    const held = heldIn(octets);
    expect(held.sessions.get("shop/lan")?.claims).toContain("Remote End ID 0x002a in L2tpTunnel t");
    // It stays as long as the object.
    expect(endIdOf(resolved([managed()], [open("lan")], { held }), "shop/lan")).toBe("\u0000*");
    const both = [
      open("lan", { remoteEndIdOctets: "3432" }),
      open("lan", { remoteEndId: "42" }, "z"),
    ];
    expect(refusals(resolved([managed()], both))).toEqual(["z/lan Conflict"]);
    const loose = resolved([tunnel("t")], [session("lan", { remoteEndIdOctets: "002a" })]);
    expect(loose.refusedSessions.get("shop/lan")?.message).toContain(
      "spec.remoteEndIdOctets: not supported, because L2tpTunnel t is not Managed; omit it",
    );
  });

  it("stay with their holder, whatever the names, also after a restart", () => {
    const holder = open("lan", { remoteEndId: "42" });
    const held = heldIn(resolved([managed()], [holder]));
    const taker = open("lan", { remoteEndId: "42" }, "bakery");
    const all = resolved([managed()], [taker, holder], { held });
    expect(refusals(all)).toEqual(["bakery/lan Conflict"]);
    expect(all.refusedSessions.get("bakery/lan")?.message).toContain("shop/lan");
    // The loser holds nothing, and gets the claim when the holder is deleted.
    expect([...heldIn(all, held).sessions.keys()]).toEqual(["shop/lan"]);
    expect(refusals(resolved([managed()], [taker], { held: heldIn(all, held) }))).toEqual([]);
  });

  it.each<[string, Partial<ResolveContext>, Partial<SessionSpec>]>([
    ["its tunnel is down", { underlay: noRoute }, {}],
    [
      "its Secret is missing",
      {},
      { cookies: { receive: { valueFrom: { secretKeyRef: { name: "s", key: "k" } } } } },
    ],
  ])("stay while %s", (_what, change, spec) => {
    const wish = { remoteEndId: "42" };
    const held = heldIn(resolved([managed()], [open("lan", wish)]));
    const taker = open("lan", wish, "bakery");
    const down = resolved([managed()], [taker, open("lan", { ...wish, ...spec })], {
      held,
      ...change,
    });
    expect(refusals(down)).toContain("bakery/lan Conflict");
    expect(heldIn(down, held).sessions.get("shop/lan")).toEqual(held.sessions.get("shop/lan"));
  });

  it("belong to the first accepted session, even if it cannot be programmed yet", () => {
    const wish = { remoteEndId: "42" };
    const first = resolved([managed()], [open("lan", wish)], { underlay: noRoute });
    expect(refusals(first)).toEqual(["shop/lan TunnelNotProgrammed"]);
    const all = resolved([managed()], [open("lan", wish, "bakery"), open("lan", wish)], {
      held: heldIn(first),
    });
    expect(refusals(all)).toEqual(["bakery/lan Conflict"]);
  });

  it.each<[string, Unreadable]>([
    ["its manifest is invalid", { ...none, sessions: (key) => key === "shop/lan" }],
    ["a file cannot be read", { tunnels: () => true, sessions: () => true }],
  ])("stay while %s, and are free when the session is deleted", (_what, isUnreadable) => {
    const wish = { remoteEndId: "42" };
    const held = heldIn(resolved([managed()], [open("lan", wish)]));
    const taker = open("lan", wish, "bakery");
    const broken = resolved([managed()], [taker], { held, isUnreadable });
    expect(refusals(broken)).toEqual(["bakery/lan Conflict"]);
    expect(heldIn(broken, held, isUnreadable).sessions.has("shop/lan")).toBe(true);
    const deleted = resolved([managed()], [taker], { held });
    expect(refusals(deleted)).toEqual([]);
    expect([...heldIn(deleted, held).sessions.keys()]).toEqual(["bakery/lan"]);
  });

  it("pass to another session for good when the tunnel no longer allows the holder", () => {
    const wish = { remoteEndId: "42" };
    const held = heldIn(resolved([managed()], [open("lan", wish)]));
    const matchLabels = { "kubernetes.io/metadata.name": "bakery" };
    const picky = managed("t", {
      allowedNamespaces: { from: "Selector", selector: { matchLabels } },
    });
    const both = [open("lan", wish, "bakery"), open("lan", wish)];
    const closed = resolved([picky], both, { held });
    expect(refusals(closed)).toEqual(["shop/lan NamespaceNotAllowed"]);
    const since = heldIn(closed, held);
    const left = since.sessions.get("shop/lan");
    expect(left).toMatchObject({ isRefused: true, remoteEndId: "42" });
    expect(left?.claims).toEqual([expect.stringContaining("session ID")]);
    expect(refusals(resolved([managed()], both, { held: since }))).toEqual(["shop/lan Conflict"]);
  });

  it("return to the holder when both sessions were refused for a while", () => {
    const wish = { remoteEndId: "42" };
    const both = [open("lan", wish, "bakery"), open("lan", wish)];
    const held = heldIn(resolved([managed()], [open("lan", wish)]));
    const closed = managed("t", { allowedNamespaces: { from: "None" } });
    const off = [
      resolved([closed], both, { held }),
      resolved([], both, { held }),
      resolved([managed("t", { remote: { address: "224.0.0.1" } })], both, { held }),
    ];
    for (const all of off) {
      expect(all.sessions.size).toBe(0);
      const later = resolved([managed()], both, { held: heldIn(all, held) });
      expect(refusals(later)).toEqual(["bakery/lan Conflict"]);
    }
  });

  it("keep a decided Remote End ID, and that of a programmed session", () => {
    const bare = { claims: null, since: "", remoteEndId: "lan" };
    const held = { ...NOTHING_HELD, sessions: new Map([["shop/lan", bare]]) };
    const kept = resolved([managed()], [open("lan")], { held });
    expect(endIdOf(kept, "shop/lan")).toBe("lan");
    const moved = resolved(
      [managed("u", { remote: { address: "192.0.2.3" } })],
      [open("lan", { tunnelRef: { name: "u" } })],
      { held: heldIn(kept, held) },
    );
    expect(endIdOf(moved, "shop/lan")).toBe("lan");
    // The state folder is lost, and the datapath runs.
    const remoteEndIds = new Map([["shop/lan", "lan"]]);
    const programmed = { ...NOTHING, sessions: new Map([["shop/lan", 7]]), remoteEndIds };
    expect(endIdOf(resolved([managed()], [open("lan")], { programmed }), "shop/lan")).toBe("lan");
  });

  it("keep allocated IDs that are not programmed when another session asks for them", () => {
    const before = resolved([tunnel("t")], [session("lan")]);
    const id = before.sessions.get("shop/lan")?.session.sessionId ?? 0;
    const greedy = session("greedy", { sessionId: id, peerSessionId: 9 }, "bakery");
    const all = resolved([tunnel("t")], [greedy, session("lan")], { held: heldIn(before) });
    expect(all.sessions.get("shop/lan")?.session.sessionId).toBe(id);
    expect(refusals(all)).toEqual(["bakery/greedy Conflict"]);
  });

  it("keep endpoints and ports with the tunnel that had them", () => {
    const kernel = { UDP: null, IPv4: null, IPv6: null };
    const datapaths = { preferred: null, kernel };
    const first = tunnel("z", { datapath: "Userspace" });
    const held = heldIn(resolved([first], [], { datapaths }));
    const same = resolved([tunnel("a"), first], [], { datapaths, held });
    expect([...same.refusedTunnels.keys()]).toEqual(["a"]);
    const pinned = tunnel("a", { datapath: "Kernel", remote: { address: "192.0.2.3" } });
    const port = resolved([pinned, first], [], { datapaths, held });
    expect([...port.refusedTunnels.keys()]).toEqual(["a"]);
  });

  it("keep the time of acceptance until the session is refused", () => {
    const before = "2026-01-01T00:00:00Z";
    const all = resolved([tunnel("t")], [session("lan")]);
    const known = { claims: ["session ID 1"], since: before };
    const since = (held: typeof known) =>
      heldIn(all, { ...NOTHING_HELD, sessions: new Map([["shop/lan", held]]) }).sessions.get(
        "shop/lan",
      )?.since;
    expect(since(known)).toBe(before);
    expect(since({ ...known, claims: [] })).toBe(NOW);
  });
});

describe("a session of IP datagrams", () => {
  const able: ResolveContext["datapaths"] = {
    preferred: null,
    kernel: { UDP: null, IPv4: null, IPv6: null },
  };
  const bare = session("lan", { pseudowireType: "IP" });

  it("has an MTU that is larger by an Ethernet header", () => {
    const { session: made } = resolved([tunnel("t")], [bare]).sessions.get("shop/lan") ?? {};
    expect(made).toMatchObject({ mtu: 1446 + 14, pseudowireType: "IP" });
  });

  it("keeps a tunnel with datapath Auto out of the kernel, and says why", () => {
    const { tunnels, sessions } = resolved([tunnel("t")], [bare], { datapaths: able });
    expect(tunnels.get("t")).toMatchObject({
      tunnel: { datapath: "Userspace" },
      notInKernel: expect.stringMatching(/L2tpSession shop\/lan .* IP: .*EPROTONOSUPPORT/),
    });
    expect([...sessions.keys()]).toEqual(["shop/lan"]);
  });

  it.each(["static", "managed"])("is refused in a %s tunnel in the kernel, and says why", (how) => {
    const asking = tunnel("t", {
      datapath: "Kernel",
      ...(how === "managed" ? { control: {} } : {}),
    });
    const object = session("lan", { pseudowireType: "IP" });
    if (how === "managed") {
      delete asking.spec.peerTunnelId;
      delete object.spec.peerSessionId;
    }
    const { refusedSessions, tunnels } = resolved([asking], [object], { datapaths: able });
    expect(tunnels.size).toBe(1);
    expect(refusedSessions.get("shop/lan")).toMatchObject({
      condition: "Programmed",
      reason: "NotInKernel",
      message: expect.stringMatching(/EPROTONOSUPPORT.*spec\.datapath: Userspace/),
    });
  });

  it.each([
    ["mode Bridge", { mode: "Bridge" }, /attachment\.mode: "Bridge": Bridge cannot carry IP/],
    [
      "macSpoofing Refuse",
      { macSpoofing: "Refuse" },
      /macSpoofing: "Refuse": pseudowireType IP has no MAC/,
    ],
  ] as const)("is refused with %s", (_what, attachment, message) => {
    const odd = session("lan", { pseudowireType: "IP", attachment });
    expect(resolved([tunnel("t")], [odd]).refusedSessions.get("shop/lan")).toMatchObject({
      condition: "Accepted",
      reason: "Invalid",
      message: expect.stringMatching(message),
    });
  });
});

describe("the status of a managed tunnel before its peer has been heard", () => {
  it.each<[string, NonNullable<TunnelSpec["control"]>, RegExp, RegExp]>([
    ["an end that opens it", {}, /^No response from the peer/, /^Negotiating the session/],
    ["an end that waits", { initiate: false, role: "LNS" }, /initiate: false/, /role: LNS/],
  ])("says what %s does", (_what, control, alive, established) => {
    const object = tunnel("t", { control });
    delete object.spec.peerTunnelId;
    const lan = session("lan");
    delete lan.spec.peerSessionId;
    const made = resolved([object], [lan]);
    const messageOf = (conditions: readonly { type: string; message: string }[], type: string) =>
      conditions.find((condition) => condition.type === type)?.message;
    const [ofTunnel, ofSession] = [made.tunnels.get("t"), made.sessions.get("shop/lan")];
    if (ofTunnel === undefined || ofSession === undefined) throw new Error("refused");
    expect(messageOf(tunnelStatus(ofTunnel, new Map()).conditions, "Alive")).toMatch(alive);
    const { conditions } = sessionStatus(ofSession, new Map(), []);
    expect(messageOf(conditions, "Established")).toMatch(established);
  });
});
