/**
 * Valid and invalid objects, on which the API server and our validation must agree. The unit tests check our
 * validation, test/crds/ checks the API server. rejections.md lists our messages.
 */
import type { FieldProblem } from "../../model/problem.ts";
import { checkForm } from "./schema.ts";
import { validateSession, validateTunnel } from "./validate.ts";

/**
 * The check that rejects the object. schema: every API server; cel: API servers with CEL (1.25 and later); strict: API
 * servers that are asked to reject unknown fields; ours: only our validation.
 */
export type Fault = "schema" | "cel" | "strict" | "ours";

export interface Sample {
  readonly name: string;
  readonly kind: "L2tpTunnel" | "L2tpSession";
  readonly spec: Readonly<Record<string, unknown>>;
  /** Null: the object is valid. */
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

const onNode = (attachment: object, more: object = {}) => ({
  attachment: { mode: "Interface", ...attachment },
  ...more,
});

const INTERFACE_SAMPLES: readonly Sample[] = [
  tunnel("allowed interfaces", { allowedInterfaces: ["eth1", "eth1.*", "*"] }),
  tunnel("an allowed interface with a slash", { allowedInterfaces: ["../eth1"] }, "schema"),
  tunnel(
    "an allowed interface with a 16-character name",
    { allowedInterfaces: ["a".repeat(16)] },
    "schema",
  ),
  session("a port of the node", onNode({ interface: "eth1" })),
  session("a VLAN of the node", onNode({ interface: "eth1.100" })),
  session(
    "a created interface with addresses",
    onNode({ interface: "edge0", create: true, addresses: ["10.0.0.1/24", "2001:db8::1/64"] }),
  ),
  session(
    "a created interface of IP datagrams",
    onNode({ interface: "edge0", create: true }, { pseudowireType: "IP" }),
  ),
  session("mode Interface without an interface", onNode({}), "cel"),
  session("an interface in mode Direct", { attachment: { interface: "eth1" } }, "cel"),
  session("create in mode Direct", { attachment: { create: true } }, "cel"),
  session(
    "addresses without create",
    onNode({ interface: "eth1", addresses: ["10.0.0.1/24"] }),
    "cel",
  ),
  session(
    "an interface with the name of a pseudowire device",
    onNode({ interface: "l2tp-7" }),
    "cel",
  ),
  session(
    "IP datagrams joined to a port",
    onNode({ interface: "eth1" }, { pseudowireType: "IP" }),
    "cel",
  ),
  session(
    "macSpoofing Refuse in mode Interface",
    onNode({ interface: "eth1", macSpoofing: "Refuse" }),
    "cel",
  ),
  session("an interface with a slash", onNode({ interface: "net/eth1" }), "schema"),
  session("an interface with a 16-character name", onNode({ interface: "a".repeat(16) }), "schema"),
  session(
    "an address without a prefix length",
    onNode({ interface: "edge0", create: true, addresses: ["10.0.0.1"] }),
    "schema",
  ),
];

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
  tunnel("no namespaces", { allowedNamespaces: { from: "None" } }),
  tunnel(
    "an unknown value of allowedNamespaces.from",
    { allowedNamespaces: { from: "Some" } },
    "schema",
  ),
  tunnel("no checksum", { udpChecksum: false, datapath: "Userspace" }),
  tunnel("the fast path", { udpChecksum: false, fastPath: true }),
  { name: "no remote", kind: "L2tpTunnel", spec: WITHOUT_REMOTE, fault: "schema" },
  tunnel("no node", { nodeName: undefined }, "schema"),
  tunnel("an empty node", { nodeName: "" }, "schema"),
  managed("a managed tunnel", {}),
  managed("a managed tunnel with all fields of control", {
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
  tunnel("dscp Copy", { dscp: "Copy" }),
  tunnel("a DSCP of 64", { dscp: 64 }, "schema"),
  tunnel("a DSCP name", { dscp: "EF" }, "schema"),
  tunnel("a DSCP of true", { dscp: true }, "schema"),
  // An API server compares only the integer part with the enum.
  tunnel("a fraction as DSCP", { dscp: 4.5 }, "ours"),
  tunnel("an object as DSCP", { dscp: { value: 46 } }, "schema"),
  tunnel("ECN", { ecn: true }),
  tunnel("ECN with datapath Kernel", { ecn: true, datapath: "Kernel" }, "cel"),
  tunnel("ECN with fastPath", { ecn: true, fastPath: true, udpChecksum: false }, "cel"),
  tunnel("dscp Copy with datapath Kernel", { dscp: "Copy", datapath: "Kernel" }, "ours"),
  tunnel("dscp Copy with fastPath", { dscp: "Copy", fastPath: true, udpChecksum: false }, "ours"),
  keyed("a keyed tunnel", {}),
  keyed("a keyed tunnel with a prefix", PREFIXED),
  keyed("a keyed tunnel over UDP", { encapsulation: "UDP" }, "cel"),
  keyed("a keyed tunnel over IPv4", { local: {}, remote: { address: "192.0.2.2" } }, "cel"),
  keyed("a managed keyed tunnel", { control: {} }, "cel"),
  keyed("a keyed tunnel with datapath Kernel", { datapath: "Kernel" }, "cel"),
  keyed("a prefix without keyed", { ...PREFIXED, keyed: false }, "cel"),
  keyed("a prefix without an address", { local: { prefix: "2001:db8:1::/64" } }, "cel"),
  keyed("a prefix of length 1", { local: { ...PREFIXED.local, prefix: "::/1" } }, "schema"),
  tunnel("control mode Static", { control: { mode: "Static" } }),
  backup("backups", [{ address: "192.0.2.3" }, { address: "192.0.2.4", port: 1702 }]),
  backup("an empty list of backups", [], "schema"),
  backup("five backups", fiveAddresses, "schema"),
  backup("a backup of another family", [{ address: "2001:db8::3" }], "cel"),
  backup("the remote as its own backup", [{ address: "198.51.100.7" }], "cel"),
  tunnel(
    "the tunnel's own address as a backup",
    { peerTunnelId: undefined, control: {}, backup: [{ address: "192.0.2.1" }] },
    "cel",
  ),
  backup("a backup twice", [{ address: "192.0.2.3" }, { address: "192.0.2.3", port: 2 }], "cel"),
  tunnel(
    "the remote as its own backup, spelled differently",
    {
      ...{ local: undefined, peerTunnelId: undefined, control: {} },
      ...{ remote: { address: "2001:db8::2" }, backup: [{ address: "2001:DB8:0::2" }] },
    },
    "ours",
  ),
  backup("a multicast address as a backup", [{ address: "224.0.0.1" }], "cel"),
  tunnel("a backup of a static tunnel", { backup: [{ address: "192.0.2.3" }] }, "cel"),
  tunnel("no peerTunnelId in a static tunnel", { peerTunnelId: undefined }, "cel"),
  tunnel("peerTunnelId in a managed tunnel", { control: {} }, "cel"),
  managed("an unknown control mode", { mode: "Dynamic" }, "schema"),
  managed("an unknown role", { role: "PE" }, "schema"),
  managed("a secretRef without a namespace", { secretRef: secretKeyRef }, "schema"),
  managed("previousSecretRef without secretRef", { previousSecretRef: secretRef }, "cel"),
  tunnel("secretRef in a static tunnel", { control: { mode: "Static", secretRef } }, "cel"),
  tunnel("secretRef in a quiescent tunnel", { control: { mode: "Quiescent", secretRef } }, "cel"),
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
  managed("a HELLO interval of 10ms", { hello: { interval: "10ms" } }, "cel"),
  managed(
    "deadAfter shorter than the HELLO interval",
    { hello: { interval: "10s", deadAfter: "5s" } },
    "cel",
  ),
  managed("a HELLO interval that is not a duration", { hello: { interval: "soon" } }, "schema"),
  tunnel("id 0", { tunnelId: 0 }, "schema"),
  tunnel("an id of 33 bits", { peerTunnelId: 4294967296 }, "schema"),
  tunnel("half an id", { peerTunnelId: 1.5 }, "schema"),
  tunnel("an id as a string", { peerTunnelId: "45" }, "schema"),
  tunnel("an unknown encapsulation", { encapsulation: "GRE" }, "schema"),
  tunnel("an unknown datapath", { datapath: "DPDK" }, "schema"),
  tunnel("port 0", { remote: { address: "192.0.2.2", port: 0 } }, "schema"),
  tunnel("port 65536", { local: { port: 65536 } }, "schema"),
  tunnel("a host name as an address", remote("peer.example"), "schema"),
  tunnel("an invalid IPv6 address", remote("2001:db8:::"), "schema"),
  tunnel("a local address that is not an address", { local: { address: "here" } }, "schema"),
  tunnel(
    "an interface name that is too long",
    { local: { interface: "abcdefghijklmnop" } },
    "schema",
  ),
  tunnel("multicast", remote("224.0.0.1"), "cel"),
  tunnel("IPv6 multicast", remote("ff02::1"), "cel"),
  tunnel("broadcast", remote("255.255.255.255"), "cel"),
  tunnel("an unspecified IPv4 address", remote("0.0.0.0"), "cel"),
  tunnel("an unspecified IPv6 address", remote("0::0"), "cel"),
  tunnel("link-local without an interface", remote("fe80::1"), "cel"),
  tunnel("link-local with an interface", {
    local: { interface: "eth0" },
    remote: { address: "fe80::1" },
  }),
  tunnel("a local link-local address", { local: { address: "fe80::1" } }, "cel"),
  tunnel("IPv4-mapped", remote("::ffff:192.0.2.2"), "cel"),
  tunnel("IPv4-mapped, spelled in full", remote("0:0:0:0:0:FFFF:c000:202"), "cel"),
  backup("a link-local backup without an interface", [{ address: "fe80::3" }], "cel"),
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
  tunnel("the local endpoint as remote", { remote: { address: "192.0.2.1", port: 5000 } }, "cel"),
  tunnel(
    "the local endpoint as remote, with the default port",
    { local: { address: "192.0.2.1" }, remote: { address: "192.0.2.1", port: 1701 } },
    "cel",
  ),
  tunnel(
    "the local endpoint as remote, spelled differently",
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
  tunnel("a selector without matchLabels", { allowedNamespaces: { selector: {} } }, "schema"),
  tunnel(
    "a selector with empty matchLabels",
    { allowedNamespaces: { selector: { matchLabels: {} } } },
    "schema",
  ),
  tunnel("from Selector without a selector", { allowedNamespaces: { from: "Selector" } }, "cel"),
  tunnel("an unknown field", { tunelId: 42 }, "strict"),
  tunnel("an unknown nested field", { local: { adress: "192.0.2.1" } }, "strict"),

  session("a session", {}),
  session("a cookie of 4 bytes", cookie({ value: "a1b2c3d4" })),
  session("a cookie of 8 bytes", cookie({ value: "0xA1B2C3D4E5F60718" })),
  session("a cookie in a Secret", cookie({ valueFrom: { secretKeyRef } })),
  session("a previous cookie in a Secret", {
    cookies: { receive: { value: "a1b2c3d4" }, receivePrevious: { valueFrom: { secretKeyRef } } },
  }),
  session("a cookie to be generated", cookie({ valueFrom: { secretKeyRef, generate: true } })),
  session("reordering", { sequencing: { send: true, receive: true, reorderTimeout: "50ms" } }),
  session("no sublayer", { l2SpecificSublayer: "None" }),
  session("a bridge", { attachment: { mode: "Bridge" }, mtu: 1400 }),
  session("a switch", { attachment: { mode: "Switch", switchTo: { name: "other" } } }),
  session("a switch of IP datagrams between namespaces", {
    pseudowireType: "IP",
    attachment: {
      mode: "Switch",
      switchTo: { namespace: "other", name: "lan" },
      allowSwitchFrom: ["other"],
    },
  }),
  session("mode Switch without switchTo", { attachment: { mode: "Switch" } }, "cel"),
  session("switchTo without a name", { attachment: { mode: "Switch", switchTo: {} } }, "schema"),
  session("switchTo in mode Direct", { attachment: { switchTo: { name: "other" } } }, "cel"),
  session(
    "macSpoofing Refuse in mode Switch",
    { attachment: { mode: "Switch", switchTo: { name: "other" }, macSpoofing: "Refuse" } },
    "cel",
  ),
  session("IP datagrams", { pseudowireType: "IP", attachment: { announce: false } }),
  session(
    "IP datagrams with mode Bridge",
    { pseudowireType: "IP", attachment: { mode: "Bridge" } },
    "cel",
  ),
  session(
    "IP datagrams with macSpoofing Refuse",
    { pseudowireType: "IP", attachment: { macSpoofing: "Refuse" } },
    "cel",
  ),
  ...INTERFACE_SAMPLES,
  session("no tunnel", { tunnelRef: undefined }, "schema"),
  session("a tunnelRef without a name", { tunnelRef: {} }, "schema"),
  session("a session of a managed tunnel", { peerSessionId: undefined, remoteEndId: "lan" }),
  session("octets as Remote End ID", { peerSessionId: undefined, remoteEndIdOctets: "002a" }),
  session("octets with a prefix", { peerSessionId: undefined, remoteEndIdOctets: "0X002A" }),
  session("an empty Remote End ID", { remoteEndId: "" }, "schema"),
  session("an empty remoteEndIdOctets", { remoteEndIdOctets: "" }, "schema"),
  session("a remoteEndIdOctets of three digits", { remoteEndIdOctets: "002" }, "schema"),
  session(
    "remoteEndId and remoteEndIdOctets",
    { remoteEndId: "lan", remoteEndIdOctets: "002a" },
    "cel",
  ),
  session("session id 0", { sessionId: 0 }, "schema"),
  session("a negative id", { peerSessionId: -1 }, "schema"),
  session("an unknown pseudowireType", { pseudowireType: "PPP" }, "schema"),
  session("a VLAN", { pseudowireType: "EthernetVLAN", vlan: { id: 4094 } }),
  session("a VLAN with another ID at the peer", {
    pseudowireType: "EthernetVLAN",
    vlan: { id: 1, peerId: 200, pod: "Tagged" },
  }),
  session("the VLAN type without a VLAN", { pseudowireType: "EthernetVLAN" }, "cel"),
  session("a VLAN in an Ethernet session", { vlan: { id: 100 } }, "cel"),
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
    "an unknown value of vlan.pod",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100, pod: "Half" } },
    "schema",
  ),
  session("an unknown l2SpecificSublayer", { l2SpecificSublayer: "ATM" }, "schema"),
  session("a cookie of 5 bytes", cookie({ value: "aabbccddee" }), "schema"),
  session("a cookie of 0 bytes", cookie({ value: "" }), "schema"),
  session("a cookie that is not hexadecimal", cookie({ value: "aabbccdg" }), "schema"),
  session("valueFrom without secretKeyRef", cookie({ valueFrom: {} }), "schema"),
  session("a tiny MTU", { mtu: 67 }, "schema"),
  session("a huge MTU", { mtu: 65522 }, "schema"),
  session("an unknown attachment mode", { attachment: { mode: "Router" } }, "schema"),
  session(
    "a reorderTimeout that is not a duration",
    { sequencing: { receive: true, reorderTimeout: "soon" } },
    "schema",
  ),
  session("a cookie without value and valueFrom", cookie({}), "cel"),
  session(
    "a previous cookie without a receive cookie",
    { cookies: { receivePrevious: { value: "a1b2c3d4" } } },
    "cel",
  ),
  session("an empty previous cookie", { cookies: { receivePrevious: {} } }, "cel"),
  session(
    "a generated previous cookie",
    {
      cookies: {
        receive: { value: "a1b2c3d4" },
        receivePrevious: { valueFrom: { secretKeyRef, generate: true } },
      },
    },
    "cel",
  ),
  session(
    "a cookie with value and valueFrom",
    cookie({ value: "a1b2c3d4", valueFrom: { secretKeyRef } }),
    "cel",
  ),
  session(
    "a reorderTimeout of 11s",
    { sequencing: { receive: true, reorderTimeout: "11s" } },
    "cel",
  ),
  session(
    "reorderTimeout without sequencing.receive",
    { sequencing: { reorderTimeout: "50ms" } },
    "cel",
  ),
  session(
    "sequencing without a sublayer",
    { l2SpecificSublayer: "None", sequencing: { send: true } },
    "cel",
  ),
  session("an unknown field of a session", { cookie: "a1b2c3d4" }, "strict"),
];

/** Returns the problems that our validation finds: those of the form, else those of the rules. */
export function problemsOf(sample: Sample): readonly FieldProblem[] {
  const checked = checkForm(JSON.parse(JSON.stringify(manifestOf(sample, "x"))));
  if ("problems" in checked) return checked.problems;
  const { object } = checked;
  return object.kind === "L2tpTunnel" ? validateTunnel(object.spec) : validateSession(object.spec);
}

/** Returns the sample as a manifest. @param name of the object */
export function manifestOf({ kind, spec }: Sample, name: string): object {
  const metadata = kind === "L2tpTunnel" ? { name } : { name, namespace: "default" };
  return { apiVersion: "l2tp.dev/v1alpha1", kind, metadata, spec };
}
