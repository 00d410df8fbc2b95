/** The DSCP of the datagram in a frame, as the packet that carries the frame may have it. */
import { findIp, ipVersionAt } from "./frame.ts";

/** The upper six bits: ECN is each IP layer's own (RFC 6040). */
const DSCP_MASK = 0xfc;

/**
 * The traffic class with the DSCP, and without ECN.
 * @param isBare the frame is an IP datagram
 * @returns 0 where the frame has no IP header
 */
export function trafficClassOf(view: DataView, at: number, end: number, isBare: boolean): number {
  const ip = findIp(view, at, end, isBare);
  if (ip === 0) return 0;
  const isIpv4 = ipVersionAt(view, ip) === 4;
  return (isIpv4 ? view.getUint8(ip + 1) : view.getUint16(ip) >> 4) & DSCP_MASK;
}
