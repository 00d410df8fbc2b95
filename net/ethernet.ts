/** Describes the header of an Ethernet frame (IEEE 802.3). */
import { ETHERNET_HEADER_BYTES, ETHERTYPE, ETHERTYPE_OFFSET, VLAN_TAG_BYTES } from "./headers.ts";
import { formatMac } from "./mac.ts";

/** A smaller value is the length of an LLC frame (IEEE 802.3, 3.2.6). */
const LEAST_ETHERTYPE = 0x0600;

const WORDS: Readonly<Record<number, string>> = {
  [ETHERTYPE.ipv4]: "IPv4",
  [ETHERTYPE.arp]: "ARP",
  [ETHERTYPE.ipv6]: "IPv6",
  [ETHERTYPE.mplsUnicast]: "MPLS",
  [ETHERTYPE.pppoeDiscovery]: "PPPoE discovery",
  [ETHERTYPE.pppoeSession]: "PPPoE session",
  [ETHERTYPE.lldp]: "LLDP",
};

export interface EthernetWords {
  readonly destination: string;
  readonly source: string;
  /** "IPv4", "VLAN 7, ARP", "LLC", "0x88b5". */
  readonly type: string;
}

/** Describes the frame at offset `at`; null: less than a header. */
export function describeEthernet(octets: Uint8Array, at: number): EthernetWords | null {
  if (octets.length < at + ETHERNET_HEADER_BYTES) return null;
  return {
    destination: formatMac(octets.subarray(at, at + 6)),
    source: formatMac(octets.subarray(at + 6, at + 12)),
    type: typeAt(new DataView(octets.buffer, octets.byteOffset, octets.byteLength), at),
  };
}

function typeAt(view: DataView, frameAt: number): string {
  const tags: string[] = [];
  for (let at = frameAt + ETHERTYPE_OFFSET; ; at += VLAN_TAG_BYTES) {
    if (at + 2 > view.byteLength) return [...tags, "cut short"].join(", ");
    const type = view.getUint16(at);
    const isTag = type === ETHERTYPE.vlan || type === ETHERTYPE.serviceVlan;
    if (!isTag || at + VLAN_TAG_BYTES > view.byteLength) return [...tags, words(type)].join(", ");
    tags.push(`VLAN ${view.getUint16(at + 2) & 0x0fff}`);
  }
}

function words(type: number): string {
  if (type < LEAST_ETHERTYPE) return "LLC";
  return WORDS[type] ?? `0x${type.toString(16).padStart(4, "0")}`;
}
