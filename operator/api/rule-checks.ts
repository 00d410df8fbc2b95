/** Generated from rules.ts by `make generate`: true if a value meets a rule. */
import { canonicalAddress } from "../../net/ip.ts";
import { durationMs } from "./duration.ts";
import type { SessionSpec, TunnelSpec } from "./generated.ts";

export const TUNNEL_CHECKS = {
  managedHasNoPeerId: (self: TunnelSpec) =>
    !(self.control !== undefined && (self.control?.mode ?? "Managed") === "Managed") ||
    self.peerTunnelId === undefined,
  unmanagedHasPeerId: (self: TunnelSpec) =>
    (self.control !== undefined && (self.control?.mode ?? "Managed") === "Managed") ||
    (self.keyed ?? false) ||
    self.peerTunnelId !== undefined,
  keyedOverIp: (self: TunnelSpec) =>
    !(self.keyed ?? false) || (self.encapsulation ?? "UDP") === "IP",
  keyedOverIpv6: (self: TunnelSpec) => !(self.keyed ?? false) || self.remote.address.includes(":"),
  keyedIsStatic: (self: TunnelSpec) =>
    !(self.keyed ?? false) ||
    self.control === undefined ||
    (self.control?.mode ?? "Managed") === "Static",
  keyedInUserspace: (self: TunnelSpec) =>
    !(self.keyed ?? false) || (self.datapath ?? "Auto") !== "Kernel",
  copiedDscpInUserspace: (self: TunnelSpec) =>
    self.dscp === undefined || self.dscp !== "Copy" || (self.datapath ?? "Auto") !== "Kernel",
  copiedDscpByProcess: (self: TunnelSpec) =>
    self.dscp === undefined || self.dscp !== "Copy" || !(self.fastPath ?? false),
  ecnInUserspace: (self: TunnelSpec) =>
    !(self.ecn ?? false) || (self.datapath ?? "Auto") !== "Kernel",
  ecnByProcess: (self: TunnelSpec) => !(self.ecn ?? false) || !(self.fastPath ?? false),
  prefixIsOfKeyed: (self: TunnelSpec) => self.local?.prefix === undefined || (self.keyed ?? false),
  prefixHasAddress: (self: NonNullable<TunnelSpec["local"]>) =>
    self.prefix === undefined || self.address !== undefined,
  backupsInUserspace: (self: TunnelSpec) =>
    self.control === undefined ||
    (self.control?.mode ?? "Managed") === "Static" ||
    (self.datapath ?? "Auto") !== "Kernel" ||
    self.backup === undefined,
  onlyManagedAuthenticates: (self: NonNullable<TunnelSpec["control"]>) =>
    (self.mode ?? "Managed") === "Managed" || self.secretRef === undefined,
  previousSecretNeedsSecret: (self: NonNullable<TunnelSpec["control"]>) =>
    self.secretRef !== undefined || self.previousSecretRef === undefined,
  helloInterval: (self: NonNullable<TunnelSpec["control"]>) =>
    durationMs(self.hello?.interval ?? "60s") >= 1000 &&
    durationMs(self.hello?.interval ?? "60s") <= 3600000,
  helloDeadAfter: (self: NonNullable<TunnelSpec["control"]>) =>
    self.hello?.deadAfter === undefined ||
    (durationMs(self.hello?.deadAfter) > durationMs(self.hello?.interval ?? "60s") &&
      durationMs(self.hello?.deadAfter) <= 86400000),
  unspecifiedAddress: (self: string) => !/^[0:.]+$/.test(self),
  multicastAddress: (self: string) => !/^(2(2[4-9]|3[0-9])[.]|[fF]{2}[0-9a-fA-F]{2}:)/.test(self),
  broadcastAddress: (self: string) => self !== "255.255.255.255",
  mappedAddress: (self: string) =>
    !/^[0:]*:[fF]{4}:([0-9]+[.][0-9.]+|[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}|:[0-9a-fA-F]{0,4})$/.test(
      self,
    ),
  localLinkLocal: (self: NonNullable<TunnelSpec["local"]>) =>
    self.address === undefined || !/^[fF][eE][89abAB][0-9a-fA-F]:/.test(self.address),
  remoteLinkLocal: (self: TunnelSpec) =>
    !/^[fF][eE][89abAB][0-9a-fA-F]:/.test(self.remote.address) ||
    self.local?.interface !== undefined,
  backupLinkLocal: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    !/^[fF][eE][89abAB][0-9a-fA-F]:/.test(one.address) || self.local?.interface !== undefined,
  backupScope: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    /^[fF][eE][89abAB][0-9a-fA-F]:/.test(one.address) ===
    /^[fF][eE][89abAB][0-9a-fA-F]:/.test(self.remote.address),
  onlyManagedHasBackups: (self: TunnelSpec) =>
    self.backup === undefined ||
    (self.control !== undefined && (self.control?.mode ?? "Managed") === "Managed"),
  backupFamily: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    one.address.includes(":") === self.remote.address.includes(":"),
  backupIsNotRemote: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    canonicalAddress(one.address) !== canonicalAddress(self.remote.address),
  backupIsNotLocal: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    self.local?.address === undefined ||
    canonicalAddress(one.address) !== canonicalAddress(self.local?.address),
  backupOnce: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    (self.backup ?? []).filter(
      (other) => canonicalAddress(other.address) === canonicalAddress(one.address),
    ).length === 1,
  oneLocalEnd: (self: NonNullable<TunnelSpec["local"]>) =>
    self.address === undefined || self.interface === undefined,
  localFamily: (self: TunnelSpec) =>
    self.local?.address === undefined ||
    self.local?.address?.includes(":") === self.remote.address.includes(":"),
  twoEnds: (self: TunnelSpec) =>
    self.local?.address === undefined ||
    canonicalAddress(self.local?.address) !== canonicalAddress(self.remote.address) ||
    ((self.encapsulation ?? "UDP") === "UDP" &&
      (self.local?.port !== undefined ? self.local?.port : 1701) !==
        (self.remote.port !== undefined ? self.remote.port : 1701)),
  localPortNeedsUdp: (self: TunnelSpec) =>
    (self.encapsulation ?? "UDP") === "UDP" || self.local?.port === undefined,
  remotePortNeedsUdp: (self: TunnelSpec) =>
    (self.encapsulation ?? "UDP") === "UDP" || self.remote.port === undefined,
  backupPortNeedsUdp: (self: TunnelSpec, one: NonNullable<TunnelSpec["backup"]>[number]) =>
    (self.encapsulation ?? "UDP") === "UDP" || one.port === undefined,
  checksumNeedsUdp: (self: TunnelSpec) =>
    (self.encapsulation ?? "UDP") === "UDP" || (self.udpChecksum ?? true),
  fastPathHasNoChecksum: (self: TunnelSpec) =>
    !(self.fastPath ?? false) ||
    ((self.encapsulation ?? "UDP") === "UDP" && !(self.udpChecksum ?? true)),
  fastPathInUserspace: (self: TunnelSpec) =>
    !(self.fastPath ?? false) || (self.datapath ?? "Auto") !== "Kernel",
  selectorIsThere: (self: NonNullable<TunnelSpec["allowedNamespaces"]>) =>
    self.from === undefined || self.from !== "Selector" || self.selector !== undefined,
};

export const SESSION_CHECKS = {
  cookieHasSource: (self: NonNullable<NonNullable<SessionSpec["cookies"]>["receive"]>) =>
    self.value !== undefined || self.valueFrom !== undefined,
  cookieHasOneSource: (self: NonNullable<NonNullable<SessionSpec["cookies"]>["receive"]>) =>
    self.value === undefined || self.valueFrom === undefined,
  previousCookieNeedsCookie: (self: NonNullable<SessionSpec["cookies"]>) =>
    self.receive !== undefined || self.receivePrevious === undefined,
  previousCookieIsKnown: (self: NonNullable<SessionSpec["cookies"]>) =>
    self.receivePrevious === undefined ||
    self.receivePrevious?.valueFrom === undefined ||
    !(self.receivePrevious?.valueFrom?.generate ?? false),
  modeCarriesType: (self: SessionSpec) =>
    !(
      (self.attachment?.mode ?? "Direct") === "Bridge" &&
      (self.pseudowireType ?? "Ethernet") === "IP"
    ),
  spoofingNeedsMac: (self: SessionSpec) =>
    (self.attachment?.macSpoofing ?? "Allow") !== "Refuse" ||
    !((self.pseudowireType ?? "Ethernet") === "IP"),
  nodesOwnHasInterface: (self: SessionSpec) =>
    !((self.attachment?.mode ?? "Direct") === "Interface") ||
    self.attachment?.interface !== undefined,
  interfaceIsNodesOwn: (self: SessionSpec) =>
    (self.attachment?.mode ?? "Direct") === "Interface" || self.attachment?.interface === undefined,
  createIsNodesOwn: (self: SessionSpec) =>
    (self.attachment?.mode ?? "Direct") === "Interface" || !(self.attachment?.create ?? false),
  addressesNeedCreate: (self: SessionSpec) =>
    self.attachment?.addresses === undefined || (self.attachment?.create ?? false),
  createdNameIsFree: (self: SessionSpec) =>
    self.attachment?.interface === undefined ||
    !/^l2([a-z]*-|v|tpf|tpmove)/.test(self.attachment?.interface),
  joiningNeedsMac: (self: SessionSpec) =>
    !((self.attachment?.mode ?? "Direct") === "Interface") ||
    (self.attachment?.create ?? false) ||
    !((self.pseudowireType ?? "Ethernet") === "IP"),
  nodesOwnHasAllMacs: (self: SessionSpec) =>
    !((self.attachment?.mode ?? "Direct") === "Interface") ||
    (self.attachment?.macSpoofing ?? "Allow") !== "Refuse",
  switchHasTarget: (self: SessionSpec) =>
    (self.attachment?.mode ?? "Direct") !== "Switch" || self.attachment?.switchTo !== undefined,
  onlySwitchHasTarget: (self: SessionSpec) =>
    (self.attachment?.mode ?? "Direct") === "Switch" || self.attachment?.switchTo === undefined,
  switchHasNoPods: (self: SessionSpec) =>
    (self.attachment?.mode ?? "Direct") !== "Switch" ||
    (self.attachment?.macSpoofing ?? "Allow") !== "Refuse",
  oneRemoteEndId: (self: SessionSpec) =>
    self.remoteEndIdOctets === undefined || self.remoteEndId === undefined,
  reorderTimeoutIsShort: (self: SessionSpec) =>
    durationMs(self.sequencing?.reorderTimeout ?? "0ms") <= 10000,
  reorderingNeedsReceive: (self: SessionSpec) =>
    (self.sequencing?.receive ?? false) ||
    durationMs(self.sequencing?.reorderTimeout ?? "0ms") === 0,
  sequencingNeedsSublayer: (self: SessionSpec) =>
    (self.l2SpecificSublayer ?? "Default") === "Default" ||
    !((self.sequencing?.send ?? false) || (self.sequencing?.receive ?? false)),
  vlanTypeHasVlan: (self: SessionSpec) =>
    (self.pseudowireType ?? "Ethernet") !== "EthernetVLAN" || self.vlan !== undefined,
  vlanNeedsVlanType: (self: SessionSpec) =>
    (self.pseudowireType ?? "Ethernet") === "EthernetVLAN" || self.vlan === undefined,
};
