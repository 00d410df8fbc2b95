/**
 * The rules on objects that a schema cannot express, each of them once. `make generate` writes them as
 * x-kubernetes-validations into crds/, translates their CEL to TypeScript (rule-checks.ts), and lists
 * them in docs/api.md. Rules between objects are in model/conflicts.ts.
 */
import { ATTACHMENT_MODES, canAttach } from "../../model/attachments/index.ts";
import { PSEUDOWIRE_TYPES, type PseudowireType } from "../../model/pseudowires/index.ts";
import { DEFAULT_UDP_PORT } from "./endpoint.ts";

/** A condition that objects must meet. */
export interface Rule {
  /**
   * Where in the schema the rule stands: its value is `self`. Several: one definition serves all of them.
   * An API server checks an object's default, too, before the defaults of its fields are in it: a rule
   * about such fields stands further out.
   */
  readonly at: readonly [string, ...string[]];
  /** A list in `self`, if the rule is about each of its items: `one`. */
  readonly each?: string;
  /** The field at fault, seen from `self` or `one`; undefined: the value itself. */
  readonly field?: string;
  /**
   * True if the rule is met. Fields with a default are always there: they need no `has`.
   * `address(x)` is x for an API server, and x in its canonical form in TypeScript.
   */
  readonly cel: string;
  readonly reason: string;
  readonly remedy: string;
  /** Why TypeScript does not check the rule, or checks it elsewhere. */
  readonly onlyInCel?: string;
}

export type Rules = Readonly<Record<string, Rule>>;

/** `address(x)` in a rule. API servers before 1.31 have no `ip()`, and refuse a definition that calls it. */
export const SPELLING_MATTERS = /\baddress\(([^()]*)\)/;
export const SPELLING = "The API server compares the addresses as they are spelled.";

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

/** The types whose frames have no MAC addresses. */
const WITHOUT_MAC = PSEUDOWIRE_TYPES.filter(({ device }) => device?.hasMac === false);
/** The pairs of which the mode cannot give the type's frames to a pod. */
const MISFITS = ATTACHMENT_MODES.flatMap((mode) =>
  PSEUDOWIRE_TYPES.filter((type) => !canAttach(mode, type)).map((type) => ({ mode, type })),
);

const hasType = ({ name }: PseudowireType): string => `self.pseudowireType == '${name}'`;

const NO_PORTS = {
  reason: "IP encapsulation has no ports",
  remedy: "leave it out, or use UDP",
} as const;
const FAMILY = {
  reason: "not of the remote's family",
  remedy: "IPv4 or IPv6, as spec.remote",
} as const;
const UNICAST = "a unicast address";
const LINK_LOCAL = "^[fF][eE][89abAB][0-9a-fA-F]:";
const NO_LINK = {
  reason: "a link-local address: it is found on one link alone",
  remedy: "name the link in spec.local.interface, or use another address",
} as const;
const ANOTHER_PEER = "another peer's address";

export const TUNNEL_RULES = {
  nodeIsFinal: {
    at: ["spec.nodeName"],
    cel: "self == oldSelf",
    reason: "a tunnel stays on its node",
    remedy: "create another one for the other node, then delete this one",
    onlyInCel: "The controller compares with the node in the status.",
  },
  managedHasNoPeerId: {
    at: ["spec"],
    field: "peerTunnelId",
    cel: `!${IS_MANAGED} || !has(self.peerTunnelId)`,
    reason: "in a Managed tunnel the peer tells its id",
    remedy: "leave it out",
  },
  unmanagedHasPeerId: {
    at: ["spec"],
    field: "peerTunnelId",
    cel: `${IS_MANAGED} || self.keyed || has(self.peerTunnelId)`,
    reason: "missing",
    remedy: "give the peer's id of the tunnel, or use spec.control.mode: Managed",
  },
  keyedOverIp: {
    at: ["spec"],
    field: "encapsulation",
    cel: "!self.keyed || self.encapsulation == 'IP'",
    reason: "a keyed tunnel has no UDP (RFC 8159)",
    remedy: "set spec.encapsulation: IP, or leave spec.keyed out",
  },
  keyedOverIpv6: {
    at: ["spec"],
    field: "remote.address",
    cel: "!self.keyed || self.remote.address.contains(':')",
    reason: "a keyed tunnel has IPv6 addresses (RFC 8159)",
    remedy: "use the peer's IPv6 address, or leave spec.keyed out",
  },
  keyedIsStatic: {
    at: ["spec"],
    field: "control",
    cel: `!self.keyed || ${HAS_NO_CONNECTION}`,
    reason: "a keyed tunnel has no control connection (RFC 8159)",
    remedy: "leave it out, or spec.keyed",
  },
  keyedInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: "!self.keyed || self.datapath != 'Kernel'",
    reason: "the kernel finds a session by its ID, and not by addresses",
    remedy: "leave it out, or spec.keyed",
  },
  copiedDscpInUserspace: {
    at: ["spec"],
    field: "dscp",
    cel: "!has(self.dscp) || self.dscp != 'Copy' || self.datapath != 'Kernel'",
    reason: "the kernel copies no DSCP",
    remedy: "use a number from 0 to 63, or leave spec.datapath out",
  },
  copiedDscpByProcess: {
    at: ["spec"],
    field: "dscp",
    cel: "!has(self.dscp) || self.dscp != 'Copy' || !self.fastPath",
    reason: "the fast path copies no DSCP",
    remedy: "use a number from 0 to 63, or leave spec.fastPath out",
  },
  prefixIsOfKeyed: {
    at: ["spec"],
    field: "local.prefix",
    cel: "!has(self.local.prefix) || self.keyed",
    reason: "only a keyed tunnel has an address of a prefix",
    remedy: "set spec.keyed: true, or leave it out",
  },
  prefixHasAddress: {
    at: ["spec.local"],
    field: "address",
    cel: "!has(self.prefix) || has(self.address)",
    reason: "missing",
    remedy: "give the tunnel's address of spec.local.prefix",
  },
  backupsInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: `${HAS_NO_CONNECTION} || self.datapath != 'Kernel' || !has(self.backup)`,
    reason: "backups are the userspace datapath's",
    remedy: "leave it out",
  },
  onlyManagedAuthenticates: {
    at: ["spec.control"],
    field: "secretRef",
    cel: "self.mode == 'Managed' || !has(self.secretRef)",
    reason: "only a Managed tunnel authenticates",
    remedy: "leave it out",
  },
  previousSecretNeedsSecret: {
    at: ["spec.control"],
    field: "previousSecretRef",
    cel: "has(self.secretRef) || !has(self.previousSecretRef)",
    reason: "it is what secretRef was before",
    remedy: "give secretRef too, or leave it out",
  },
  helloInterval: {
    at: ["spec.control"],
    field: "hello.interval",
    cel: "duration(self.hello.interval) >= duration('1s') && duration(self.hello.interval) <= duration('3600s')",
    reason: "not an interval",
    remedy: "from 1s to 3600s",
  },
  helloDeadAfter: {
    at: ["spec.control"],
    field: "hello.deadAfter",
    cel: "!has(self.hello.deadAfter) || (duration(self.hello.deadAfter) > duration(self.hello.interval) && duration(self.hello.deadAfter) <= duration('86400s'))",
    reason: "not a bound",
    remedy: "longer than hello.interval, and 86400s at most",
  },
  unspecifiedAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^[0:.]+$')",
    reason: "an unspecified address: it is no node's",
    remedy: UNICAST,
  },
  multicastAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^(2(2[4-9]|3[0-9])[.]|[fF]{2}[0-9a-fA-F]{2}:)')",
    reason: "a multicast address: a tunnel has one peer, not a group",
    remedy: UNICAST,
  },
  broadcastAddress: {
    at: ADDRESSES,
    cel: "self != '255.255.255.255'",
    reason: "a broadcast address: a tunnel has one peer, not a network",
    remedy: UNICAST,
  },
  mappedAddress: {
    at: ADDRESSES,
    cel: "!self.matches('^[0:]*:[fF]{4}:([0-9]+[.][0-9.]+|[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}|:[0-9a-fA-F]{0,4})$')",
    reason: "an IPv4-mapped address: no IPv6 packet carries it",
    remedy: "write the IPv4 address itself",
  },
  localLinkLocal: {
    at: ["spec.local"],
    field: "address",
    cel: `!has(self.address) || !self.address.matches('${LINK_LOCAL}')`,
    reason: "a link-local address: it does not tell its interface",
    remedy: "give spec.local.interface instead",
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
    reason: "not of the remote's scope",
    remedy: "use link-local addresses for all remotes, or for none",
  },
  onlyManagedHasBackups: {
    at: ["spec"],
    field: "backup",
    cel: `!has(self.backup) || ${IS_MANAGED}`,
    reason: "only a Managed tunnel can have backups",
    remedy: "leave it out, or use spec.control.mode: Managed",
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
    reason: "the address of spec.remote",
    remedy: ANOTHER_PEER,
  },
  backupIsNotLocal: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "!has(self.local.address) || address(one.address) != address(self.local.address)",
    reason: "the address of spec.local",
    remedy: ANOTHER_PEER,
  },
  backupOnce: {
    at: ["spec"],
    each: "backup",
    field: "address",
    cel: "self.backup.exists_one(other, address(other.address) == address(one.address))",
    reason: "the address of another backup",
    remedy: ANOTHER_PEER,
  },
  oneLocalEnd: {
    at: ["spec.local"],
    field: "interface",
    cel: "!has(self.address) || !has(self.interface)",
    reason: "the address is given too",
    remedy: "keep one of the two",
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
    reason: "the tunnel leads to itself",
    remedy: "the address of the other end",
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
    reason: "there is no UDP",
    remedy: "leave it out, or use UDP",
  },
  fastPathHasNoChecksum: {
    at: ["spec"],
    field: "fastPath",
    cel: "!self.fastPath || (self.encapsulation == 'UDP' && !self.udpChecksum)",
    reason: "the fast path makes no UDP checksums",
    remedy: "set udpChecksum: false (with UDP encapsulation), or leave it out",
  },
  fastPathInUserspace: {
    at: ["spec"],
    field: "datapath",
    cel: "!self.fastPath || self.datapath != 'Kernel'",
    reason: "the fast path is the userspace datapath's",
    remedy: "leave it out, or fastPath",
  },
  selectorIsThere: {
    at: ["spec.allowedNamespaces"],
    field: "selector",
    cel: "!has(self.from) || self.from != 'Selector' || has(self.selector)",
    reason: "Selector needs one",
    remedy: "give it matchLabels, or use from: All",
  },
} as const satisfies Rules;

export const SESSION_RULES = {
  cookieHasSource: {
    at: COOKIES,
    cel: "has(self.value) || has(self.valueFrom)",
    reason: "empty",
    remedy: "give it either value or valueFrom",
  },
  cookieHasOneSource: {
    at: COOKIES,
    cel: "!has(self.value) || !has(self.valueFrom)",
    reason: "two sources",
    remedy: "give it either value or valueFrom",
  },
  previousCookieNeedsCookie: {
    at: ["spec.cookies"],
    field: "receivePrevious",
    cel: "has(self.receive) || !has(self.receivePrevious)",
    reason: "there is no new cookie that could replace it",
    remedy: "set spec.cookies.receive to the new cookie, or leave it out",
  },
  previousCookieIsKnown: {
    at: ["spec.cookies"],
    field: "receivePrevious",
    cel: "!has(self.receivePrevious) || !has(self.receivePrevious.valueFrom) || !self.receivePrevious.valueFrom.generate",
    reason: "a previous cookie cannot be generated",
    remedy: "name the key that holds the previous cookie, and leave generate out",
  },
  modeCarriesType: {
    at: ["spec"],
    field: "attachment.mode",
    cel: `!(${anyOf(MISFITS.map(({ mode, type }) => `(self.attachment.mode == '${mode.name}' && ${hasType(type)})`))})`,
    reason: MISFITS.map(({ mode, type }) => `${mode.name} cannot carry ${type.name}`).join(", "),
    remedy: "use another mode, or another pseudowireType",
  },
  spoofingNeedsMac: {
    at: ["spec"],
    field: "attachment.macSpoofing",
    cel: `self.attachment.macSpoofing != 'Refuse' || !(${anyOf(WITHOUT_MAC.map(hasType))})`,
    reason: `${WITHOUT_MAC.map(({ name }) => name).join(", ")} has no MAC addresses`,
    remedy: "leave it out",
  },
  oneRemoteEndId: {
    at: ["spec"],
    field: "remoteEndIdOctets",
    cel: "!has(self.remoteEndIdOctets) || !has(self.remoteEndId)",
    reason: "the name is given as text too",
    remedy: "keep one of the two",
  },
  reorderTimeoutIsShort: {
    at: ["spec"],
    field: "sequencing.reorderTimeout",
    cel: "duration(self.sequencing.reorderTimeout) <= duration('10s')",
    reason: "not a time to wait",
    remedy: "milliseconds or seconds up to 10000ms, such as 50ms",
  },
  reorderingNeedsReceive: {
    at: ["spec"],
    field: "sequencing.reorderTimeout",
    cel: "self.sequencing.receive || duration(self.sequencing.reorderTimeout) == duration('0s')",
    reason: "received sequence numbers do not count",
    remedy: "set spec.sequencing.receive: true",
  },
  sequencingNeedsSublayer: {
    at: ["spec"],
    field: "l2SpecificSublayer",
    cel: "self.l2SpecificSublayer == 'Default' || !(self.sequencing.send || self.sequencing.receive)",
    reason: "sequence numbers stand in the sublayer",
    remedy: "use l2SpecificSublayer: Default, at both ends",
  },
  vlanTypeHasVlan: {
    at: ["spec"],
    field: "vlan",
    cel: "self.pseudowireType != 'EthernetVLAN' || has(self.vlan)",
    reason: "missing",
    remedy: "give the VLAN of the session, or use pseudowireType: Ethernet",
  },
  vlanNeedsVlanType: {
    at: ["spec"],
    field: "vlan",
    cel: "self.pseudowireType == 'EthernetVLAN' || !has(self.vlan)",
    reason: "only an EthernetVLAN session has a VLAN of its own",
    remedy: "set pseudowireType: EthernetVLAN, or leave it out",
  },
} as const satisfies Rules;

/** The rules of each kind. */
export const RULES: Readonly<Record<string, Rules>> = {
  L2tpTunnel: TUNNEL_RULES,
  L2tpSession: SESSION_RULES,
};

/** The field at fault, for messages: "spec.backup[].port". @param at one of the rule's */
export function fieldAtFault(rule: Rule, at: string): string {
  return [at, ...withinOf(rule)].join(".");
}

/** As an API server checks it and says it. Before 1.28 only the message can name the field at fault. */
export function validationOf(rule: Rule): { readonly rule: string; readonly message: string } {
  const { each, reason, remedy } = rule;
  const cel = rule.cel.replaceAll(new RegExp(SPELLING_MATTERS, "g"), "$1");
  const path = withinOf(rule).join(".");
  return {
    rule: each === undefined ? cel : `!has(self.${each}) || self.${each}.all(one, ${cel})`,
    message: `${path === "" ? "" : `${path}: `}${reason}; ${remedy}`,
  };
}

/** The steps from `self` to the field at fault. */
function withinOf({ each, field }: Pick<Rule, "each" | "field">): string[] {
  const items = each === undefined ? [] : [`${each}[]`];
  return field === undefined ? items : [...items, field];
}
