/**
 * Objects, good and bad, on which the API servers and our own validation must agree. The unit tests try
 * our own on them, the cluster suites the API servers.
 */
import type { FieldProblem } from "../../model/problem.ts";
import { checkForm } from "./schema.ts";
import { validateSession, validateTunnel } from "./validate.ts";

/**
 * Who sees what is wrong: every API server, by the schema; those that know CEL (1.25 and later); those
 * that are asked to be strict about unknown fields; or nobody but us.
 */
export type Fault = "schema" | "cel" | "strict" | "ours";

export interface Sample {
  readonly name: string;
  readonly kind: "L2tpTunnel" | "L2tpSession";
  readonly spec: Readonly<Record<string, unknown>>;
  /** Null: it is good. */
  readonly fault: Fault | null;
}

const TUNNEL = {
  nodeName: "n1",
  local: { address: "192.0.2.1", port: 5000 },
  remote: { address: "198.51.100.7", port: 5001 },
  peerTunnelId: 45,
};
const SESSION = { tunnelRef: { name: "branch" }, peerSessionId: 2 };
const { remote: _, ...WITHOUT_REMOTE } = TUNNEL;

const tunnel = (name: string, change: object, fault: Fault | null = null): Sample => ({
  name,
  kind: "L2tpTunnel",
  spec: { ...TUNNEL, ...change },
  fault,
});
const session = (name: string, change: object, fault: Fault | null = null): Sample => ({
  name,
  kind: "L2tpSession",
  spec: { ...SESSION, ...change },
  fault,
});
const remote = (address: string) => ({ local: {}, remote: { address } });
const cookie = (receive: object) => ({ cookies: { receive } });
const secretKeyRef = { name: "cookies", key: "rx" };
const secretRef = { namespace: "infra", name: "branch", key: "secret" };
const managed = (name: string, control: object, fault: Fault | null = null): Sample =>
  tunnel(name, { peerTunnelId: undefined, control }, fault);

const backup = (name: string, backup: object[], fault: Fault | null = null): Sample =>
  tunnel(name, { peerTunnelId: undefined, control: {}, backup }, fault);
const keyed = (name: string, change: object, fault: Fault | null = null): Sample => {
  const ends = { local: { address: "2001:db8:1::1" }, remote: { address: "2001:db8:2::1" } };
  const plain = { ...ends, encapsulation: "IP", keyed: true, peerTunnelId: 1 };
  return tunnel(name, { ...plain, ...change }, fault);
};
const PREFIXED = { local: { address: "2001:db8:1::1", prefix: "2001:db8:1::/64" } };
const fiveAddresses = [3, 4, 5, 6, 7].map((host) => ({ address: `192.0.2.${host}` }));

export const SAMPLES: readonly Sample[] = [
  tunnel("a tunnel", {}),
  tunnel("IPv6", { local: { address: "2001:db8::1" }, remote: { address: "2001:db8::2" } }),
  tunnel("IP encapsulation", { encapsulation: "IP", ...remote("192.0.2.2") }),
  tunnel("no local end", { local: undefined }),
  tunnel("an interface", { local: { interface: "eth1", port: 1701 } }),
  tunnel("the largest id", { tunnelId: 4294967295 }),
  tunnel("one host, two ports", {
    local: { address: "127.0.0.1", port: 1 },
    remote: { address: "127.0.0.1", port: 2 },
  }),
  tunnel("a selector", {
    allowedNamespaces: { from: "Selector", selector: { matchLabels: { team: "net" } } },
  }),
  tunnel("a selector alone", {
    allowedNamespaces: { selector: { matchLabels: { team: "net" } } },
  }),
  tunnel("nobody's sessions", { allowedNamespaces: { from: "None" } }),
  tunnel("some namespaces' sessions", { allowedNamespaces: { from: "Some" } }, "schema"),
  tunnel("no checksum", { udpChecksum: false, datapath: "Userspace" }),
  tunnel("the fast path", { udpChecksum: false, fastPath: true }),
  { name: "no remote", kind: "L2tpTunnel", spec: WITHOUT_REMOTE, fault: "schema" },
  tunnel("no node", { nodeName: undefined }, "schema"),
  tunnel("an empty node", { nodeName: "" }, "schema"),
  managed("a managed tunnel", {}),
  managed("a managed tunnel, and all that can be said of it", {
    mode: "Managed",
    initiate: false,
    role: "LNS",
    secretRef,
    previousSecretRef: { ...secretRef, key: "before" },
    digest: "HMAC-SHA1",
    hideValues: true,
    hello: { interval: "5s", deadAfter: "15s" },
  }),
  tunnel("a quiescent tunnel", { control: { mode: "Quiescent", hello: { interval: "1s" } } }),
  tunnel("a DSCP", { dscp: 46 }),
  tunnel("a copied DSCP", { dscp: "Copy" }),
  tunnel("a DSCP of seven bits", { dscp: 64 }, "schema"),
  tunnel("a DSCP by its name", { dscp: "EF" }, "schema"),
  tunnel("a copied DSCP in the kernel", { dscp: "Copy", datapath: "Kernel" }, "cel"),
  tunnel(
    "a copied DSCP on the fast path",
    { dscp: "Copy", fastPath: true, udpChecksum: false },
    "cel",
  ),
  keyed("a keyed tunnel", {}),
  keyed("a keyed tunnel with a prefix", PREFIXED),
  keyed("a keyed tunnel of UDP", { encapsulation: "UDP" }, "cel"),
  keyed("a keyed tunnel over IPv4", { local: {}, remote: { address: "192.0.2.2" } }, "cel"),
  keyed("a managed keyed tunnel", { control: {} }, "cel"),
  keyed("a keyed tunnel in the kernel", { datapath: "Kernel" }, "cel"),
  keyed("a prefix of a tunnel that is not keyed", { ...PREFIXED, keyed: false }, "cel"),
  keyed("a prefix without an address of it", { local: { prefix: "2001:db8:1::/64" } }, "cel"),
  keyed(
    "a prefix of half the Internet",
    { local: { ...PREFIXED.local, prefix: "::/1" } },
    "schema",
  ),
  tunnel("a static tunnel by name", { control: { mode: "Static" } }),
  backup("backups", [{ address: "192.0.2.3" }, { address: "192.0.2.4", port: 1702 }]),
  backup("no backup in the list of them", [], "schema"),
  backup("more backups than anybody has", fiveAddresses, "schema"),
  backup("a backup of another family", [{ address: "2001:db8::3" }], "cel"),
  backup("the remote as its own backup", [{ address: "198.51.100.7" }], "cel"),
  tunnel(
    "the tunnel's own address as a backup",
    { peerTunnelId: undefined, control: {}, backup: [{ address: "192.0.2.1" }] },
    "cel",
  ),
  backup("a backup twice", [{ address: "192.0.2.3" }, { address: "192.0.2.3", port: 2 }], "cel"),
  tunnel(
    "the remote as its own backup, spelt otherwise",
    {
      ...{ local: undefined, peerTunnelId: undefined, control: {} },
      ...{ remote: { address: "2001:db8::2" }, backup: [{ address: "2001:DB8:0::2" }] },
    },
    "ours",
  ),
  backup("a backup for a group", [{ address: "224.0.0.1" }], "cel"),
  tunnel("a backup of a static tunnel", { backup: [{ address: "192.0.2.3" }] }, "cel"),
  tunnel("no peer's id", { peerTunnelId: undefined }, "cel"),
  tunnel("the peer's id in a managed tunnel", { control: {} }, "cel"),
  managed("another mode", { mode: "Dynamic" }, "schema"),
  managed("another role", { role: "PE" }, "schema"),
  managed("a secret of nowhere", { secretRef: secretKeyRef }, "schema"),
  managed("a secret before none", { previousSecretRef: secretRef }, "cel"),
  tunnel("a secret for nothing", { control: { mode: "Static", secretRef } }, "cel"),
  tunnel("a secret for HELLO alone", { control: { mode: "Quiescent", secretRef } }, "cel"),
  tunnel("a managed tunnel in the kernel", {
    peerTunnelId: undefined,
    control: {},
    datapath: "Kernel",
  }),
  tunnel("a control connection over IP in the kernel", {
    ...{ encapsulation: "IP", ...remote("192.0.2.2"), local: undefined },
    ...{ control: { mode: "Quiescent" }, datapath: "Kernel" },
  }),
  tunnel("a managed tunnel over IP in the kernel", {
    ...{ encapsulation: "IP", ...remote("192.0.2.2"), local: undefined },
    ...{ peerTunnelId: undefined, control: {}, datapath: "Kernel" },
  }),
  tunnel(
    "backups in the kernel",
    {
      ...{ peerTunnelId: undefined, control: {}, datapath: "Kernel" },
      backup: [{ address: "192.0.2.3" }],
    },
    "cel",
  ),
  managed("HELLO all the time", { hello: { interval: "10ms" } }, "cel"),
  managed("dead before it is asked", { hello: { interval: "10s", deadAfter: "5s" } }, "cel"),
  managed("no time", { hello: { interval: "soon" } }, "schema"),
  tunnel("id 0", { tunnelId: 0 }, "schema"),
  tunnel("an id of 33 bits", { peerTunnelId: 4294967296 }, "schema"),
  tunnel("half an id", { peerTunnelId: 1.5 }, "schema"),
  tunnel("an id in quotes", { peerTunnelId: "45" }, "schema"),
  tunnel("another encapsulation", { encapsulation: "GRE" }, "schema"),
  tunnel("another datapath", { datapath: "DPDK" }, "schema"),
  tunnel("port 0", { remote: { address: "192.0.2.2", port: 0 } }, "schema"),
  tunnel("port 65536", { local: { port: 65536 } }, "schema"),
  tunnel("a name for an address", remote("peer.example"), "schema"),
  tunnel("half an address", remote("2001:db8:::"), "schema"),
  tunnel("a local address that is none", { local: { address: "here" } }, "schema"),
  tunnel("an interface's name too long", { local: { interface: "abcdefghijklmnop" } }, "schema"),
  tunnel("multicast", remote("224.0.0.1"), "cel"),
  tunnel("IPv6 multicast", remote("ff02::1"), "cel"),
  tunnel("broadcast", remote("255.255.255.255"), "cel"),
  tunnel("nobody", remote("0.0.0.0"), "cel"),
  tunnel("nobody, in IPv6", remote("0::0"), "cel"),
  tunnel("link-local", remote("fe80::1"), "cel"),
  tunnel("link-local, by an interface", {
    local: { interface: "eth0" },
    remote: { address: "fe80::1" },
  }),
  tunnel("a local link-local address", { local: { address: "fe80::1" } }, "cel"),
  tunnel("IPv4-mapped", remote("::ffff:192.0.2.2"), "cel"),
  tunnel("IPv4-mapped, spelt in full", remote("0:0:0:0:0:FFFF:c000:202"), "cel"),
  backup("a link-local backup of no link", [{ address: "fe80::3" }], "cel"),
  tunnel(
    "a backup of another scope",
    {
      ...{ local: { interface: "eth0" }, remote: { address: "fe80::2" } },
      ...{ peerTunnelId: undefined, control: {}, backup: [{ address: "2001:db8::3" }] },
    },
    "cel",
  ),
  tunnel("a local multicast address", { local: { address: "239.1.2.3" } }, "cel"),
  tunnel("two families", { remote: { address: "2001:db8::1" } }, "cel"),
  tunnel("itself", { remote: { address: "192.0.2.1", port: 5000 } }, "cel"),
  tunnel(
    "itself by the default port",
    { local: { address: "192.0.2.1" }, remote: { address: "192.0.2.1", port: 1701 } },
    "cel",
  ),
  tunnel(
    "itself, spelt otherwise",
    { local: { address: "2001:db8::1" }, remote: { address: "2001:DB8:0::1" } },
    "ours",
  ),
  tunnel("a port over IP", { encapsulation: "IP" }, "cel"),
  tunnel(
    "a backup's port over IP",
    {
      ...{ encapsulation: "IP", ...remote("192.0.2.2"), peerTunnelId: undefined, control: {} },
      backup: [{ address: "192.0.2.3", port: 1701 }],
    },
    "cel",
  ),
  tunnel(
    "no UDP checksum over IP",
    { encapsulation: "IP", ...remote("192.0.2.2"), udpChecksum: false },
    "cel",
  ),
  tunnel("the fast path with checksums", { fastPath: true }, "cel"),
  tunnel(
    "the fast path over IP",
    { encapsulation: "IP", ...remote("192.0.2.2"), fastPath: true },
    "cel",
  ),
  tunnel(
    "the fast path in the kernel",
    { udpChecksum: false, fastPath: true, datapath: "Kernel" },
    "cel",
  ),
  tunnel("address and interface", { local: { address: "192.0.2.1", interface: "eth0" } }, "cel"),
  tunnel("a selector of nothing", { allowedNamespaces: { selector: {} } }, "schema"),
  tunnel(
    "a selector without labels",
    { allowedNamespaces: { selector: { matchLabels: {} } } },
    "schema",
  ),
  tunnel("no selector", { allowedNamespaces: { from: "Selector" } }, "cel"),
  tunnel("a field that is not there", { tunelId: 42 }, "strict"),
  tunnel("a deep field that is not there", { local: { adress: "192.0.2.1" } }, "strict"),

  session("a session", {}),
  session("a cookie of 4 bytes", cookie({ value: "a1b2c3d4" })),
  session("a cookie of 8 bytes", cookie({ value: "0xA1B2C3D4E5F60718" })),
  session("a cookie in a Secret", cookie({ valueFrom: { secretKeyRef } })),
  session("two cookies to receive, one in a Secret", {
    cookies: { receive: { value: "a1b2c3d4" }, receivePrevious: { valueFrom: { secretKeyRef } } },
  }),
  session("a cookie to be generated", cookie({ valueFrom: { secretKeyRef, generate: true } })),
  session("reordering", { sequencing: { send: true, receive: true, reorderTimeout: "50ms" } }),
  session("no sublayer", { l2SpecificSublayer: "None" }),
  session("a bridge", { attachment: { mode: "Bridge" }, mtu: 1400 }),
  session("IP datagrams", { pseudowireType: "IP", attachment: { announce: false } }),
  session(
    "IP datagrams for a bridge",
    { pseudowireType: "IP", attachment: { mode: "Bridge" } },
    "cel",
  ),
  session(
    "IP datagrams with a MAC address",
    { pseudowireType: "IP", attachment: { macSpoofing: "Refuse" } },
    "cel",
  ),
  session("no tunnel", { tunnelRef: undefined }, "schema"),
  session("an unnamed tunnel", { tunnelRef: {} }, "schema"),
  session("a session of a managed tunnel", { peerSessionId: undefined, remoteEndId: "lan" }),
  session("octets as Remote End ID", { peerSessionId: undefined, remoteEndIdOctets: "002a" }),
  session("octets with a prefix", { peerSessionId: undefined, remoteEndIdOctets: "0X002A" }),
  session("an empty Remote End ID", { remoteEndId: "" }, "schema"),
  session("no octets as Remote End ID", { remoteEndIdOctets: "" }, "schema"),
  session("half an octet as Remote End ID", { remoteEndIdOctets: "002" }, "schema"),
  session("two Remote End IDs", { remoteEndId: "lan", remoteEndIdOctets: "002a" }, "cel"),
  session("session id 0", { sessionId: 0 }, "schema"),
  session("a negative id", { peerSessionId: -1 }, "schema"),
  session("another pseudowire", { pseudowireType: "PPP" }, "schema"),
  session("a VLAN", { pseudowireType: "EthernetVLAN", vlan: { id: 4094 } }),
  session("a VLAN with another ID at the peer", {
    pseudowireType: "EthernetVLAN",
    vlan: { id: 1, peerId: 200, pod: "Tagged" },
  }),
  session("the VLAN type without a VLAN", { pseudowireType: "EthernetVLAN" }, "cel"),
  session("a VLAN of an Ethernet session", { vlan: { id: 100 } }, "cel"),
  ...[0, 4095, 4096, -1, 1.5].flatMap((id) => [
    session(`VLAN ID ${id}`, { pseudowireType: "EthernetVLAN", vlan: { id } }, "schema"),
    session(
      `VLAN ID ${id} at the peer`,
      { pseudowireType: "EthernetVLAN", vlan: { id: 100, peerId: id } },
      "schema",
    ),
  ]),
  session("a VLAN without ID", { pseudowireType: "EthernetVLAN", vlan: {} }, "schema"),
  session(
    "a VLAN that the pod sees by half",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100, pod: "Half" } },
    "schema",
  ),
  session("another sublayer", { l2SpecificSublayer: "ATM" }, "schema"),
  session("a cookie of 5 bytes", cookie({ value: "aabbccddee" }), "schema"),
  session("a cookie of no bytes", cookie({ value: "" }), "schema"),
  session("a cookie that is no number", cookie({ value: "aabbccdg" }), "schema"),
  session("a cookie of a Secret without key", cookie({ valueFrom: {} }), "schema"),
  session("a tiny MTU", { mtu: 67 }, "schema"),
  session("a huge MTU", { mtu: 65522 }, "schema"),
  session("another mode", { attachment: { mode: "Router" } }, "schema"),
  session("no time", { sequencing: { receive: true, reorderTimeout: "soon" } }, "schema"),
  session("an empty cookie", cookie({}), "cel"),
  session(
    "a previous cookie alone",
    { cookies: { receivePrevious: { value: "a1b2c3d4" } } },
    "cel",
  ),
  session("an empty previous cookie", { cookies: { receivePrevious: {} } }, "cel"),
  session(
    "a previous cookie to be generated",
    {
      cookies: {
        receive: { value: "a1b2c3d4" },
        receivePrevious: { valueFrom: { secretKeyRef, generate: true } },
      },
    },
    "cel",
  ),
  session("two cookies", cookie({ value: "a1b2c3d4", valueFrom: { secretKeyRef } }), "cel"),
  session("too long", { sequencing: { receive: true, reorderTimeout: "11s" } }, "cel"),
  session("waiting without looking", { sequencing: { reorderTimeout: "50ms" } }, "cel"),
  session(
    "sequencing without a sublayer",
    { l2SpecificSublayer: "None", sequencing: { send: true } },
    "cel",
  ),
  session("a session's field that is not there", { cookie: "a1b2c3d4" }, "strict"),
];

/** Everything that our own validation says against the sample: its form first, then the rules. */
export function problemsOf(sample: Sample): readonly FieldProblem[] {
  const checked = checkForm(JSON.parse(JSON.stringify(manifestOf(sample, "x"))));
  if ("problems" in checked) return checked.problems;
  const { object } = checked;
  return object.kind === "L2tpTunnel" ? validateTunnel(object.spec) : validateSession(object.spec);
}

/** As users would write it. @param name of the object */
export function manifestOf({ kind, spec }: Sample, name: string): object {
  const metadata = kind === "L2tpTunnel" ? { name } : { name, namespace: "default" };
  return { apiVersion: "l2tp.dev/v1alpha1", kind, metadata, spec };
}
