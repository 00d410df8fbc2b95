/** Ethernet frames without frame check sequence (RFC 4719). */
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE,
  ETHERTYPE_OFFSET,
  SUBLAYER_BYTES,
} from "../../net/headers.ts";
import { type PseudowireType, TAP } from "./pseudowire.ts";

export const ethernet = {
  name: "Ethernet",
  number: 5,
  device: TAP,
  wireHeaderBytes: ETHERNET_HEADER_BYTES,
  minFrameBytes: ETHERNET_HEADER_BYTES,
  kernel: { number: 5, letter: "t" },
  hasOffloads: true,
  hasFastPath: true,
  looksMisaligned,
} as const satisfies PseudowireType;

/**
 * True if the frame looks shifted by a sublayer that only one end uses. A data message does not show its sublayer (RFC
 * 3931, 4.1); a shift by four bytes moves the EtherType.
 */
export function looksMisaligned(
  view: DataView,
  at: number,
  bytes: number,
  expectsSublayer: boolean,
): boolean {
  const shift = expectsSublayer ? -SUBLAYER_BYTES : SUBLAYER_BYTES;
  if (bytes < ETHERTYPE_OFFSET + SUBLAYER_BYTES + 2) return false;
  if (isCommonEtherType(view.getUint16(at + ETHERTYPE_OFFSET))) return false;
  if (!isCommonEtherType(view.getUint16(at + ETHERTYPE_OFFSET + shift))) return false;
  // The start of the MAC address would be a sublayer: all bits clear except S and the sequence number.
  return expectsSublayer || (view.getUint8(at) & 0xbf) === 0;
}

/** True for the EtherTypes of most frames. */
function isCommonEtherType(type: number): boolean {
  switch (type) {
    case ETHERTYPE.ipv4:
    case ETHERTYPE.arp:
    case ETHERTYPE.vlan:
    case ETHERTYPE.ipv6:
    case ETHERTYPE.serviceVlan:
    case ETHERTYPE.mplsUnicast:
    case ETHERTYPE.pppoeDiscovery:
    case ETHERTYPE.pppoeSession:
    case ETHERTYPE.lldp:
      return true;
    default:
      return false;
  }
}
