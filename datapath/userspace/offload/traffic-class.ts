/** Reads the DSCP of the IP datagram in a frame, to copy it to the outer packet. */
import { findIp, ipVersionAt } from "./frame.ts";

/** The upper six bits. ECN is not copied: each IP layer has its own (RFC 6040). */
const DSCP_MASK = 0xfc;

/**
 * Returns the traffic class of the datagram in a frame, without ECN.
 * @param isBare the frame is an IP datagram
 * @returns 0 if the frame has no IP header
 */
export function trafficClassOf(view: DataView, at: number, end: number, isBare: boolean): number {
  const ip = findIp(view, at, end, isBare);
  if (ip === 0) return 0;
  const isIpv4 = ipVersionAt(view, ip) === 4;
  return (isIpv4 ? view.getUint8(ip + 1) : view.getUint16(ip) >> 4) & DSCP_MASK;
}
