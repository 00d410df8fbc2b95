/** AVPs that only peers send: those of L2TPv2, and Cisco's. */
import type { AttributeKey } from "./attributes.ts";

export const CISCO = 9;

/** IANA's private enterprise numbers of vendors with their own AVPs. */
const VENDOR_WORDS: Readonly<Record<number, string>> = {
  [CISCO]: "Cisco",
  193: "Ericsson",
  311: "Microsoft",
  2011: "Huawei",
  2636: "Juniper",
  3561: "Broadband Forum",
  4491: "CableLabs",
  6527: "Nokia",
};

/** Returns "AVP 2 of vendor 4491 (CableLabs)"; for the IETF "AVP 2". */
export function describeUnknown(vendor: number, type: number): string {
  if (vendor === 0) return `AVP ${type}`;
  const words = VENDOR_WORDS[vendor];
  return `AVP ${type} of vendor ${vendor}${words === undefined ? "" : ` (${words})`}`;
}

/**
 * AVPs of L2TPv2 only: RFC 2661, and its extensions RFC 3145, 3301, 3308, 3437, 3573, 3817 and 4045. An L2TPv3 end
 * ignores them (RFC 3931, 4.7.3).
 */
const VERSION_2_WORDS: Readonly<Record<number, string>> = {
  2: "Protocol Version",
  3: "Framing Capabilities",
  4: "Bearer Capabilities",
  6: "Firmware Revision",
  9: "Assigned Tunnel ID",
  11: "Challenge",
  12: "Q.931 Cause Code",
  13: "Challenge Response",
  14: "Assigned Session ID",
  16: "Minimum BPS",
  17: "Maximum BPS",
  18: "Bearer Type",
  19: "Framing Type",
  21: "Called Number",
  22: "Calling Number",
  23: "Sub-Address",
  24: "Tx Connect Speed",
  26: "Initial Received LCP CONFREQ",
  27: "Last Sent LCP CONFREQ",
  28: "Last Received LCP CONFREQ",
  29: "Proxy Authen Type",
  30: "Proxy Authen Name",
  31: "Proxy Authen Challenge",
  32: "Proxy Authen ID",
  33: "Proxy Authen Response",
  35: "ACCM",
  37: "Private Group ID",
  38: "Rx Connect Speed",
  39: "Sequencing Required",
  40: "Rx Minimum BPS",
  41: "Rx Maximum BPS",
  42: "Service Category",
  43: "Service Name",
  44: "Calling Sub-Address",
  45: "VPI/VCI Identifier",
  46: "PPP Disconnect Cause Code",
  47: "CCDS",
  48: "SDS",
  49: "LCP Want Options",
  50: "LCP Allow Options",
  51: "LNS Last Sent LCP Confreq",
  52: "LNS Last Received LCP Confreq",
  53: "Modem On-Hold Capable",
  54: "Modem On-Hold Status",
  55: "PPPoE Relay",
  56: "PPPoE Relay Response Capability",
  57: "PPPoE Relay Forward Capability",
  80: "Multicast Capability",
  81: "New Outgoing Sessions",
  82: "New Outgoing Sessions Acknowledgement",
  83: "Withdraw Outgoing Sessions",
  84: "Multicast Packets Priority",
};

/** AVPs by vendor whose values are secret or derived from a secret: challenges, responses, cookies, digests, nonces. */
const SECRETS: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [0, new Set([11, 13, 30, 31, 33])],
  [CISCO, new Set([5, 12, 13])],
]);

/** True if the AVP's value must not be shown: a cookie, a challenge or a password. */
export function isSecret(vendor: number, type: number): boolean {
  return SECRETS.get(vendor)?.has(type) === true;
}

/** Returns the name of an L2TPv2 AVP; undefined: the IETF's type is not one of L2TPv2 only. */
export function version2Name(type: number): string | undefined {
  return VERSION_2_WORDS[type];
}

/** Cisco's Message Type AVP for an acknowledgement, instead of the IETF's. */
export const CISCO_ACK = 0;
export const CISCO_DIGEST = 12;

export interface CiscoAttribute {
  /** The name in protocol decoders. */
  readonly name: string;
  /** The IETF's attribute with the same meaning and format; null: not used. */
  readonly means: AttributeKey | null;
  /** True if a different value in the IETF's AVP makes the message ambiguous. */
  readonly isBinding: boolean;
}

function same(name: string, means: AttributeKey, isBinding = false): CiscoAttribute {
  return { name: `Cisco ${name}`, means, isBinding };
}

function unused(name: string): CiscoAttribute {
  return { name: `Cisco ${name}`, means: null, isBinding: false };
}

/** AVPs of the drafts before RFC 3931. Routers still send them along with the RFC's. */
const CISCO_ATTRIBUTES: ReadonlyMap<number, CiscoAttribute> = new Map([
  [CISCO_ACK, unused("ACK")],
  [1, same("Assigned Connection ID", "assignedConnectionId", true)],
  [2, same("Pseudowire Capabilities List", "pseudowireCapabilities")],
  [3, same("Local Session ID", "localSessionId", true)],
  [4, same("Remote Session ID", "remoteSessionId", true)],
  [5, same("Assigned Cookie", "assignedCookie", true)],
  [6, same("Remote End ID", "remoteEndId", true)],
  [7, same("Pseudowire Type", "pseudowireType", true)],
  [8, same("Circuit Status", "circuitStatus")],
  [9, same("Session Tie Breaker", "tieBreaker")],
  [10, unused("Draft AVP Version")],
  // The drafts compute the digest differently, so it authenticates nothing.
  [CISCO_DIGEST, unused("Message Digest")],
  [13, same("Control Message Authentication Nonce", "nonce")],
  [14, same("Interface MTU", "interfaceMtu")],
  [100, unused("NAS Port Info")],
]);

/** Returns Cisco's attribute of the type; undefined: the type is unknown. */
export function ciscoAttributeOf(type: number): CiscoAttribute | undefined {
  return CISCO_ATTRIBUTES.get(type);
}
