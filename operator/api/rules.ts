/**
 * Rules on objects that a schema cannot express. `make generate` writes them as x-kubernetes-validations into crds/,
 * translates their CEL to TypeScript (rule-checks.ts), and lists them in docs/api.md. Rules between objects are in
 * model/conflicts.ts.
 */
import { ATTACHMENT_MODES, canAttach } from "../../model/attachments/index.ts";
import { PSEUDOWIRE_TYPES, type PseudowireType } from "../../model/pseudowires/index.ts";
import { DEFAULT_UDP_PORT } from "./endpoint.ts";

/** A condition that objects must meet. */
export interface Rule {
  /**
   * Paths in the schema that have the rule; the value at the path is `self`. Several paths share one definition.
   * An API server also checks an object's default, before it fills in the defaults of its fields. So a rule about
   * such fields must be at an outer path.
   */
  readonly at: readonly [string, ...string[]];
  /** A list in `self`: the rule is about each item, `one`. */
  readonly each?: string;
  /** The field at fault, relative to `self` or `one`; undefined: the value itself. */
  readonly field?: string;
  /**
   * True if the rule is met. Fields with a default are always set, so they need no `has`.
   * `address(x)` is x for an API server, and the canonical form of x in TypeScript.
   */
  readonly cel: string;
  readonly reason: string;
  readonly remedy: string;
  /** The reason why TypeScript does not check the rule, or checks it elsewhere. */
  readonly onlyInCel?: string;
  /** The reason why an API server cannot check the rule. */
  readonly onlyInTypeScript?: string;
}

export type Rules = Readonly<Record<string, Rule>>;

/** `address(x)` in a rule. API servers before 1.31 have no `ip()`, and reject a definition that calls it. */
export const SPELLING_MATTERS = /\baddress\(([^()]*)\)/;
export const SPELLING = "The API server compares addresses as text.";

const ADDRESSES = ["spec.local.address", "spec.remote.address", "spec.backup[].address"] as const;
const COOKIES = [
  "spec.cookies.receive",
  "spec.cookies.receivePrevious",
  "spec.cookies.transmit",
] as const;

const IS_MANAGED = "(has(self.control) && self.control.mode == 'Managed')";
const HAS_NO_CONNECTION = "!has(self.control) || self.control.mode == 'Static'";
const portOf = (end: string) => `(has(${end}.port) ? ${end}.port : ${DEFAULT_UDP_PORT})`;

const anyOf = (conditions: readonly string[]): string => conditions.join(" || ") || "false";

/** Pseudowire types whose frames have no MAC addresses. */
const WITHOUT_MAC = PSEUDOWIRE_TYPES.filter(({ device }) => device?.hasMac === false);
/** Pairs of a mode and a type that the mode cannot attach to a pod. */
const MISFITS = ATTACHMENT_MODES.flatMap((mode) =>
  PSEUDOWIRE_TYPES.filter((type) => !canAttach(mode, type)).map((type) => ({ mode, type })),
);

const hasType = ({ name }: PseudowireType): string => `self.pseudowireType == '${name}'`;

/** Modes that connect the session to a node interface. */
const NODES_OWN = ATTACHMENT_MODES.filter(({ onNode }) => onNode !== undefined);
const IS_NODES_OWN = `(${anyOf(NODES_OWN.map(({ name }) => `self.attachment.mode == '${name}'`))})`;
const NODES_OWN_NAMES = NODES_OWN.map(({ name }) => name).join(" or ");
const NOT_NODES_OWN = {
  reason: `requires attachment.mode ${NODES_OWN_NAMES}`,
  remedy: `omit it, or use attachment.mode: ${NODES_OWN_NAMES}`,
} as const;

const NO_PORTS = {
  reason: "IP encapsulation has no ports",
  remedy: "omit the port, or use encapsulation: UDP",
} as const;
const FAMILY = {
  reason: "not of the address family of spec.remote.address",
  remedy: "use IPv4 for all addresses, or IPv6 for all",
} as const;
const UNICAST = "use a unicast address";
const LINK_LOCAL = "^[fF][eE][89abAB][0-9a-fA-F]:";
const NO_LINK = {
  reason: "a link-local address without an interface",
  remedy: "set spec.local.interface, or use another address",
} as const;
// The field has no type (docs/adr/0044-dscp.md).
const WITHOUT_TYPE = "Only the controller and the agent check this, because CEL cannot read dscp.";
const ANOTHER_PEER = "use the address of another peer";

export const TUNNEL_RULES = {
  nodeIsFinal: {
    at: ["spec.nodeName"],
    cel: "self == oldSelf",
    reason: "immutable",
    remedy: "create another tunnel for the other node, then delete this one",
    onlyInCel: "The controller compares with the node in the status.",
  },
  managedHasNoPeerId: {
    at: ["spec"],
    field: "peerTunnelId",
    cel: `!${IS_MANAGED} || !has(self.peerTunnelId)`,
    reason: "negotiated in a Managed tunnel",
    remedy: "omit peerTunnelId",
  },
  unmanagedHasPeerId: {
    at: ["spec"],
    field: "peerTunnelId",
    cel: `${IS_MANAGED} || self.keyed || has(self.peerTunnelId)`,
    reason: "required unless control.mode is Managed",
    remedy: "set the peer's tunnel ID, or use control.mode: Managed",
  },
  keyedOverIp: {
    at: ["spec"],
    field: "encapsulation",
    cel: "!self.keyed || self.encapsulation == 'IP'",
    reason: "not possible in a keyed tunnel (RFC 8159)",
    remedy: "use encapsulation: IP, or omit keyed",
  },
  keyedOverIpv6: {
    at: ["spec"],
    field: "remote.address",
    cel: "!self.keyed || self.remote.address.contains(':')",
    reason: "a keyed tunnel requires IPv6 (RFC 8159)",
    remedy: "use the peer's IPv6 address, or omit keyed",
  },
  keyedIsStatic: {
    at: ["spec"],
    field: "control",
    cel: `!self.keyed || ${HAS_NO_CONNECTION}`,
    reason: "a keyed tunnel has no control connection (RFC 8159)",
    remedy: "omit control, or omit keyed",
  },
  keyedInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: "!self.keyed || self.datapath != 'Kernel'",
    reason: "a keyed tunnel requires the userspace datapath",
    remedy: "omit datapath, or omit keyed",
  },
  copiedDscpInUserspace: {
    at: ["spec"],
    field: "dscp",
    cel: "!has(self.dscp) || self.dscp != 'Copy' || self.datapath != 'Kernel'",
    reason: "the kernel datapath cannot copy the DSCP",
    remedy: "use a number from 0 to 63, or omit datapath",
    onlyInTypeScript: WITHOUT_TYPE,
  },
  copiedDscpByProcess: {
    at: ["spec"],
    field: "dscp",
    cel: "!has(self.dscp) || self.dscp != 'Copy' || !self.fastPath",
    reason: "the fast path cannot copy the DSCP",
    remedy: "use a number from 0 to 63, or omit fastPath",
    onlyInTypeScript: WITHOUT_TYPE,
  },
  ecnInUserspace: {
    at: ["spec"],
    field: "ecn",
    cel: "!self.ecn || self.datapath != 'Kernel'",
    reason: "the kernel datapath cannot propagate congestion marks",
    remedy: "omit ecn, or omit datapath",
  },
  ecnByProcess: {
    at: ["spec"],
    field: "ecn",
    cel: "!self.ecn || !self.fastPath",
    reason: "the fast path cannot propagate congestion marks",
    remedy: "omit ecn, or omit fastPath",
  },
  prefixIsOfKeyed: {
    at: ["spec"],
    field: "local.prefix",
    cel: "!has(self.local.prefix) || self.keyed",
    reason: "requires a keyed tunnel",
    remedy: "set keyed: true, or omit local.prefix",
  },
  prefixHasAddress: {
    at: ["spec.local"],
    field: "address",
    cel: "!has(self.prefix) || has(self.address)",
    reason: "missing",
    remedy: "set an address of local.prefix",
  },
  backupsInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: `${HAS_NO_CONNECTION} || self.datapath != 'Kernel' || !has(self.backup)`,
    reason: "backups require the userspace datapath",
    remedy: "omit datapath, or omit backup",
  },
  onlyManagedAuthenticates: {
    at: ["spec.control"],
    field: "secretRef",
    cel: "self.mode == 'Managed' || !has(self.secretRef)",
    reason: "requires control.mode: Managed",
    remedy: "omit secretRef, or use control.mode: Managed",
  },
  previousSecretNeedsSecret: {
    at: ["spec.control"],
    field: "previousSecretRef",
    cel: "has(self.secretRef) || !has(self.previousSecretRef)",
    reason: "requires secretRef",
    remedy: "set secretRef, or omit previousSecretRef",
  },
  helloInterval: {
    at: ["spec.control"],
    field: "hello.interval",
    cel: "duration(self.hello.interval) >= duration('1s') && duration(self.hello.interval) <= duration('3600s')",
    reason: "out of range",
    remedy: "use 1s to 3600s",
  },
  helloDeadAfter: {
    at: ["spec.control"],
    field: "hello.deadAfter",
    cel: "!has(self.hello.deadAfter) || (duration(self.hello.deadAfter) > duration(self.hello.interval) && duration(self.hello.deadAfter) <= duration('86400s'))",
    reason: "out of range",
    remedy: "use more than hello.interval, and at most 86400s",
  },
  unspecifiedAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^[0:.]+$')",
    reason: "an unspecified address",
    remedy: UNICAST,
  },
  multicastAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^(2(2[4-9]|3[0-9])[.]|[fF]{2}[0-9a-fA-F]{2}:)')",
    reason: "a multicast address",
    remedy: UNICAST,
  },
  broadcastAddress: {
    at: ADDRESSES,
    cel: "self != '255.255.255.255'",
    reason: "a broadcast address",
    remedy: UNICAST,
  },
  mappedAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^[0:]*:[fF]{4}:([0-9]+[.][0-9.]+|[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}|:[0-9a-fA-F]{0,4})$')",
    reason: "an IPv4-mapped address",
    remedy: "write it as an IPv4 address",
  },
  localLinkLocal: {
    at: ["spec.local"],
    field: "address",
    cel: `!has(self.address) || !self.address.matches('${LINK_LOCAL}')`,
    reason: "a link-local address does not identify an interface",
    remedy: "set spec.local.interface instead of the address",
  },
  remoteLinkLocal: {
    at: ["spec"],
    field: "remote.address",
    cel: `!self.remote.address.matches('${LINK_LOCAL}') || has(self.local.interface)`,
    ...NO_LINK,
  },
  backupLinkLocal: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: `!one.address.matches('${LINK_LOCAL}') || has(self.local.interface)`,
    ...NO_LINK,
  },
  backupScope: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: `one.address.matches('${LINK_LOCAL}') == self.remote.address.matches('${LINK_LOCAL}')`,
    reason: "not of the scope of spec.remote.address",
    remedy: "use link-local addresses for all remotes, or for no remote",
  },
  onlyManagedHasBackups: {
    at: ["spec"],
    field: "backup",
    cel: `!has(self.backup) || ${IS_MANAGED}`,
    reason: "requires control.mode: Managed",
    remedy: "omit backup, or use control.mode: Managed",
  },
  backupFamily: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "one.address.contains(':') == self.remote.address.contains(':')",
    ...FAMILY,
  },
  backupIsNotRemote: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "address(one.address) != address(self.remote.address)",
    reason: "duplicates spec.remote.address",
    remedy: ANOTHER_PEER,
  },
  backupIsNotLocal: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "!has(self.local.address) || address(one.address) != address(self.local.address)",
    reason: "duplicates spec.local.address",
    remedy: ANOTHER_PEER,
  },
  backupOnce: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "self.backup.exists_one(other, address(other.address) == address(one.address))",
    reason: "duplicates the address of another backup",
    remedy: ANOTHER_PEER,
  },
  oneLocalEnd: {
    at: ["spec.local"],
    field: "interface",
    cel: "!has(self.address) || !has(self.interface)",
    reason: "address and interface are both set",
    remedy: "set only one of them",
  },
  localFamily: {
    at: ["spec"],
    field: "local.address",
    cel: "!has(self.local.address) || self.local.address.contains(':') == self.remote.address.contains(':')",
    ...FAMILY,
  },
  twoEnds: {
    at: ["spec"],
    field: "remote.address",
    cel: `!has(self.local.address) || address(self.local.address) != address(self.remote.address) || (self.encapsulation == 'UDP' && ${portOf("self.local")} != ${portOf("self.remote")})`,
    reason: "remote and local endpoint are the same",
    remedy: "use the address of the peer",
  },
  localPortNeedsUdp: {
    at: ["spec"],
    field: "local.port",
    cel: "self.encapsulation == 'UDP' || !has(self.local.port)",
    ...NO_PORTS,
  },
  remotePortNeedsUdp: {
    at: ["spec"],
    field: "remote.port",
    cel: "self.encapsulation == 'UDP' || !has(self.remote.port)",
    ...NO_PORTS,
  },
  backupPortNeedsUdp: {
    at: ["spec"],
    each: "backup",
    field: "port",
    cel: "self.encapsulation == 'UDP' || !has(one.port)",
    ...NO_PORTS,
  },
  checksumNeedsUdp: {
    at: ["spec"],
    field: "udpChecksum",
    cel: "self.encapsulation == 'UDP' || self.udpChecksum",
    reason: "IP encapsulation has no UDP checksum",
    remedy: "omit udpChecksum, or use encapsulation: UDP",
  },
  fastPathHasNoChecksum: {
    at: ["spec"],
    field: "fastPath",
    cel: "!self.fastPath || (self.encapsulation == 'UDP' && !self.udpChecksum)",
    reason: "the fast path requires UDP without checksums",
    remedy: "set udpChecksum: false with encapsulation: UDP, or omit fastPath",
  },
  fastPathInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: "!self.fastPath || self.datapath != 'Kernel'",
    reason: "the fast path requires the userspace datapath",
    remedy: "omit datapath, or omit fastPath",
  },
  selectorIsThere: {
    at: ["spec.allowedNamespaces"],
    field: "selector",
    cel: "!has(self.from) || self.from != 'Selector' || has(self.selector)",
    reason: "required with from: Selector",
    remedy: "set selector.matchLabels, or use from: All",
  },
} as const satisfies Rules;

export const SESSION_RULES = {
  cookieHasSource: {
    at: COOKIES,
    cel: "has(self.value) || has(self.valueFrom)",
    reason: "neither value nor valueFrom is set",
    remedy: "set one of them",
  },
  cookieHasOneSource: {
    at: COOKIES,
    cel: "!has(self.value) || !has(self.valueFrom)",
    reason: "value and valueFrom are both set",
    remedy: "set only one of them",
  },
  previousCookieNeedsCookie: {
    at: ["spec.cookies"],
    field: "receivePrevious",
    cel: "has(self.receive) || !has(self.receivePrevious)",
    reason: "has no effect without cookies.receive",
    remedy: "set cookies.receive to the new cookie, or omit receivePrevious",
  },
  previousCookieIsKnown: {
    at: ["spec.cookies"],
    field: "receivePrevious",
    cel: "!has(self.receivePrevious) || !has(self.receivePrevious.valueFrom) || !self.receivePrevious.valueFrom.generate",
    reason: "a previous cookie cannot be generated",
    remedy: "use a key that contains the previous cookie, and omit generate",
  },
  modeCarriesType: {
    at: ["spec"],
    field: "attachment.mode",
    cel: `!(${anyOf(MISFITS.map(({ mode, type }) => `(self.attachment.mode == '${mode.name}' && ${hasType(type)})`))})`,
    reason: MISFITS.map(({ mode, type }) => `${mode.name} cannot carry ${type.name}`).join(", "),
    remedy: "use another attachment.mode or another pseudowireType",
  },
  spoofingNeedsMac: {
    at: ["spec"],
    field: "attachment.macSpoofing",
    cel: `self.attachment.macSpoofing != 'Refuse' || !(${anyOf(WITHOUT_MAC.map(hasType))})`,
    reason: `pseudowireType ${WITHOUT_MAC.map(({ name }) => name).join(", ")} has no MAC addresses`,
    remedy: "omit macSpoofing",
  },
  nodesOwnHasInterface: {
    at: ["spec"],
    field: "attachment.interface",
    cel: `!${IS_NODES_OWN} || has(self.attachment.interface)`,
    reason: "missing",
    remedy: "set the name of a node interface",
  },
  interfaceIsNodesOwn: {
    at: ["spec"],
    field: "attachment.interface",
    cel: `${IS_NODES_OWN} || !has(self.attachment.interface)`,
    ...NOT_NODES_OWN,
  },
  createIsNodesOwn: {
    at: ["spec"],
    field: "attachment.create",
    cel: `${IS_NODES_OWN} || !self.attachment.create`,
    ...NOT_NODES_OWN,
  },
  addressesNeedCreate: {
    at: ["spec"],
    field: "attachment.addresses",
    cel: "!has(self.attachment.addresses) || self.attachment.create",
    reason: "requires attachment.create: true",
    remedy: "set attachment.create: true, or omit addresses",
  },
  createdNameIsFree: {
    at: ["spec"],
    field: "attachment.interface",
    cel: "!has(self.attachment.interface) || !self.attachment.interface.matches('^l2([a-z]*-|v|tpf|tpmove)')",
    reason: "reserved for pseudowire devices",
    remedy: "use another name",
  },
  joiningNeedsMac: {
    at: ["spec"],
    field: "attachment.create",
    cel: `!${IS_NODES_OWN} || self.attachment.create || !(${anyOf(WITHOUT_MAC.map(hasType))})`,
    reason: `pseudowireType ${WITHOUT_MAC.map(({ name }) => name).join(", ")} cannot be joined to an interface`,
    remedy: "set attachment.create: true, or use another pseudowireType",
  },
  nodesOwnHasAllMacs: {
    at: ["spec"],
    field: "attachment.macSpoofing",
    cel: `!${IS_NODES_OWN} || self.attachment.macSpoofing != 'Refuse'`,
    reason: `pods cannot attach in mode ${NODES_OWN_NAMES}`,
    remedy: "omit macSpoofing",
  },
  switchHasTarget: {
    at: ["spec"],
    field: "attachment.switchTo",
    cel: "self.attachment.mode != 'Switch' || has(self.attachment.switchTo)",
    reason: "missing",
    remedy: "set the name of the other session, or use another attachment.mode",
  },
  onlySwitchHasTarget: {
    at: ["spec"],
    field: "attachment.switchTo",
    cel: "self.attachment.mode == 'Switch' || !has(self.attachment.switchTo)",
    reason: "requires attachment.mode Switch",
    remedy: "use attachment.mode: Switch, or omit switchTo",
  },
  switchHasNoPods: {
    at: ["spec"],
    field: "attachment.macSpoofing",
    cel: "self.attachment.mode != 'Switch' || self.attachment.macSpoofing != 'Refuse'",
    reason: "pods cannot attach in mode Switch",
    remedy: "omit macSpoofing",
  },
  oneRemoteEndId: {
    at: ["spec"],
    field: "remoteEndIdOctets",
    cel: "!has(self.remoteEndIdOctets) || !has(self.remoteEndId)",
    reason: "remoteEndId and remoteEndIdOctets are both set",
    remedy: "set only one of them",
  },
  reorderTimeoutIsShort: {
    at: ["spec"],
    field: "sequencing.reorderTimeout",
    cel: "duration(self.sequencing.reorderTimeout) <= duration('10s')",
    reason: "out of range",
    remedy: "use 0ms to 10s, such as 50ms",
  },
  reorderingNeedsReceive: {
    at: ["spec"],
    field: "sequencing.reorderTimeout",
    cel: "self.sequencing.receive || duration(self.sequencing.reorderTimeout) == duration('0s')",
    reason: "has no effect without sequencing.receive",
    remedy: "set sequencing.receive: true, or omit reorderTimeout",
  },
  sequencingNeedsSublayer: {
    at: ["spec"],
    field: "l2SpecificSublayer",
    cel: "self.l2SpecificSublayer == 'Default' || !(self.sequencing.send || self.sequencing.receive)",
    reason: "sequence numbers require the L2-Specific Sublayer",
    remedy: "use l2SpecificSublayer: Default at both ends, or omit sequencing",
  },
  vlanTypeHasVlan: {
    at: ["spec"],
    field: "vlan",
    cel: "self.pseudowireType != 'EthernetVLAN' || has(self.vlan)",
    reason: "required with pseudowireType: EthernetVLAN",
    remedy: "set vlan.id, or use pseudowireType: Ethernet",
  },
  vlanNeedsVlanType: {
    at: ["spec"],
    field: "vlan",
    cel: "self.pseudowireType == 'EthernetVLAN' || !has(self.vlan)",
    reason: "requires pseudowireType: EthernetVLAN",
    remedy: "omit vlan, or use pseudowireType: EthernetVLAN",
  },
} as const satisfies Rules;

/** The rules of each kind of object. */
export const RULES: Readonly<Record<string, Rules>> = {
  L2tpTunnel: TUNNEL_RULES,
  L2tpSession: SESSION_RULES,
};

/** Returns the path of the field at fault, such as "spec.backup[].port". @param at one of the rule's paths */
export function fieldAtFault(rule: Rule, at: string): string {
  return [at, ...withinOf(rule)].join(".");
}

/**
 * Returns the rule and the message of x-kubernetes-validations. API servers before 1.28 have no `fieldPath`, so the
 * message names the field at fault.
 */
export function validationOf(rule: Rule): { readonly rule: string; readonly message: string } {
  const { each, reason, remedy } = rule;
  const cel = rule.cel.replaceAll(new RegExp(SPELLING_MATTERS, "g"), "$1");
  const path = withinOf(rule).join(".");
  return {
    rule: each === undefined ? cel : `!has(self.${each}) || self.${each}.all(one, ${cel})`,
    message: `${path === "" ? "" : `${path}: `}${reason}; ${remedy}`,
  };
}

/** Returns the steps from `self` to the field at fault. */
function withinOf({ each, field }: Pick<Rule, "each" | "field">): string[] {
  const items = each === undefined ? [] : [`${each}[]`];
  return field === undefined ? items : [...items, field];
}
