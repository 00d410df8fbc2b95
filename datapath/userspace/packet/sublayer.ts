/**
 * A guess, for the doctor: does the peer send an L2-specific sublayer that we do not expect, or none
 * where we expect one? Nothing on the wire says so (RFC 3931 §4.1); the frame then starts four bytes
 * off, which shows where its EtherType stands.
 */

const SUBLAYER_BYTES = 4;
const ETHERTYPE_OFFSET = 12;

/**
 * @param offset where the frame starts by our own configuration
 * @param expectsSublayer by our own configuration
 */
export function looksMisaligned(
  view: DataView,
  offset: number,
  bytes: number,
  expectsSublayer: boolean,
): boolean {
  const shift = expectsSublayer ? -SUBLAYER_BYTES : SUBLAYER_BYTES;
  if (bytes < ETHERTYPE_OFFSET + SUBLAYER_BYTES + 2) return false;
  if (isCommonEtherType(view.getUint16(offset + ETHERTYPE_OFFSET))) return false;
  if (!isCommonEtherType(view.getUint16(offset + ETHERTYPE_OFFSET + shift))) return false;
  // What we take for the head of a MAC address would be a sublayer: all clear but S and the number.
  return expectsSublayer || (view.getUint8(offset) & 0xbf) === 0;
}

/** IPv4, ARP, 802.1Q, IPv6, 802.1ad, MPLS, PPPoE, LLDP: what most frames carry. */
function isCommonEtherType(type: number): boolean {
  switch (type) {
    case 0x0800:
    case 0x0806:
    case 0x8100:
    case 0x86dd:
    case 0x88a8:
    case 0x8847:
    case 0x8863:
    case 0x8864:
    case 0x88cc:
      return true;
    default:
      return false;
  }
}
