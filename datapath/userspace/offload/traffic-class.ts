/** The traffic class of the IP datagram in a frame: DSCP (RFC 2474) and ECN (RFC 3168). */
import { findIp, IPV4, ipVersionAt } from "./frame.ts";

/** The two bits of ECN (RFC 3168, 5). */
export const ECN = { notCapable: 0, ect1: 1, ect0: 2, congestion: 3 } as const;
const ECN_BITS = 0x03;

/**
 * Returns the traffic class of the datagram in a frame.
 * @param isBare the frame is an IP datagram
 * @returns 0 if the frame has no IP header
 */
export function trafficClassOf(view: DataView, at: number, end: number, isBare: boolean): number {
  const ip = findIp(view, at, end, isBare);
  return ip === 0 ? 0 : classAt(view, ip);
}

/**
 * Passes the ECN of a received packet on to the datagram in its frame (RFC 6040, 4.2).
 * @param outer ECN of the packet: ECT(1) or congestion; the other two change nothing
 * @returns false: the frame must be dropped, since its sender does not understand the mark
 */
export function propagateEcn(
  view: DataView,
  at: number,
  end: number,
  isBare: boolean,
  outer: number,
): boolean {
  const ip = findIp(view, at, end, isBare);
  // No mark can be passed on to a frame without IP header. Its sender does not use ECN.
  if (ip === 0) return true;
  const inner = classAt(view, ip) & ECN_BITS;
  if (outer === ECN.congestion) {
    if (inner === ECN.notCapable) return false;
    if (inner !== ECN.congestion) setEcn(view, ip, ECN.congestion);
  } else if (inner === ECN.ect0) setEcn(view, ip, ECN.ect1);
  return true;
}

function classAt(view: DataView, ip: number): number {
  return ipVersionAt(view, ip) === 4 ? view.getUint8(ip + 1) : (view.getUint16(ip) >> 4) & 0xff;
}

/** Writes ECN, and updates the checksum of an IPv4 header (RFC 1624). */
function setEcn(view: DataView, ip: number, ecn: number): void {
  const before = view.getUint16(ip);
  if (ipVersionAt(view, ip) === 6) {
    view.setUint16(ip, (before & ~(ECN_BITS << 4)) | (ecn << 4));
    return;
  }
  const after = (before & ~ECN_BITS) | ecn;
  view.setUint16(ip, after);
  const sum = (~view.getUint16(ip + IPV4.checksum) & 0xffff) + (~before & 0xffff) + after;
  const folded = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(ip + IPV4.checksum, ~((folded & 0xffff) + (folded >>> 16)) & 0xffff);
}
