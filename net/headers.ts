/** Sizes and numbers of the headers around and inside a pseudowire. */

/** Destination, source and EtherType (IEEE 802.3). */
export const ETHERNET_HEADER_BYTES = 14;
/** One tag of IEEE 802.1Q or 802.1ad. */
export const VLAN_TAG_BYTES = 4;
/** The VLAN ID in the 16 bits after a tag's EtherType; the other bits are priority and drop eligibility. */
export const VLAN_ID_MASK = 0x0fff;
/** The offset of the EtherType in an Ethernet frame without tags. */
export const ETHERTYPE_OFFSET = ETHERNET_HEADER_BYTES - 2;
/** The EtherTypes that l2tp-cni recognizes (IEEE 802 Numbers, IANA). */
export const ETHERTYPE = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  ipv6: 0x86dd,
  mplsUnicast: 0x8847,
  pppoeDiscovery: 0x8863,
  pppoeSession: 0x8864,
  serviceVlan: 0x88a8,
  lldp: 0x88cc,
} as const;

/** An IPv4 header without options (RFC 791). */
export const IPV4_HEADER_BYTES = 20;
/** An IPv6 header without extension headers (RFC 8200). */
export const IPV6_HEADER_BYTES = 40;
/** The minimum MTU of a link with IPv6 (RFC 8200, section 5). */
export const IPV6_MIN_MTU = 1280;
/** Sizes by IP version. */
export const IP_HEADER_BYTES = { 4: IPV4_HEADER_BYTES, 6: IPV6_HEADER_BYTES } as const;
/** RFC 768. */
export const UDP_HEADER_BYTES = 8;
/** A TCP header without options (RFC 9293). */
export const MIN_TCP_HEADER_BYTES = 20;

/** The bytes before the session ID over UDP: flags, version and 16 reserved bits (RFC 3931, 4.1.2.1). */
export const L2TP_UDP_PREFIX_BYTES = 4;
/** RFC 3931, 4.1. */
export const SESSION_ID_BYTES = 4;
/** The default L2-Specific Sublayer (RFC 3931, 4.6). */
export const SUBLAYER_BYTES = 4;

/** Names of pseudowire types (the registry of RFC 4446; 7 and 11 as in Linux and Cisco). */
export const PSEUDOWIRE_WORDS: Readonly<Record<number, string>> = {
  1: "Frame Relay DLCI",
  2: "ATM AAL5 SDU VCC",
  3: "ATM cell port",
  4: "Ethernet VLAN",
  5: "Ethernet",
  6: "HDLC",
  7: "PPP",
  9: "ATM cell VCC",
  10: "ATM cell VPC",
  11: "IP",
  12: "MPEG-TS",
  13: "PSP",
};
