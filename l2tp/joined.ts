/**
 * Splits a captured UDP payload into L2TPv3 datagrams. A packet socket sees received datagrams after the kernel has
 * coalesced them, and sent ones before it segments them (UDP_GRO, UDP_SEGMENT), without the segment size. Pure.
 */
import { L2TP_UDP_PREFIX_BYTES, SESSION_ID_BYTES } from "../net/headers.ts";

/** Flags and version of a data message, and the reserved half. */
const DATA_WORD = 0x0003_0000;
const HEAD_BYTES = L2TP_UDP_PREFIX_BYTES + SESSION_ID_BYTES;

export interface DatagramBounds {
  readonly at: number;
  readonly end: number;
}

/**
 * Returns the datagrams of a payload that begins with a data message. Headers with a known session ID at equal
 * distances up to the end separate datagrams; otherwise the payload is one datagram.
 * @param octets the payload, possibly truncated by the capture
 * @param payloadBytes its length on the wire
 */
export function datagramsOf(
  octets: Uint8Array,
  payloadBytes: number,
  isKnown: (sessionId: number) => boolean,
): DatagramBounds[] {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const isHead = (at: number) =>
    at + HEAD_BYTES <= octets.length &&
    view.getUint32(at) === DATA_WORD &&
    isKnown(view.getUint32(at + L2TP_UDP_PREFIX_BYTES));
  const whole = [{ at: 0, end: payloadBytes }];
  if (!isHead(0)) return whole;
  for (let size = HEAD_BYTES; size + HEAD_BYTES <= octets.length; size++) {
    if (isHead(size) && isCut(size, octets.length, isHead)) return cut(size, payloadBytes);
  }
  return whole;
}

/** True if a header is at each multiple of `size`. */
function isCut(size: number, length: number, isHead: (at: number) => boolean): boolean {
  for (let at = size; at + HEAD_BYTES <= length; at += size) if (!isHead(at)) return false;
  return true;
}

function cut(size: number, length: number): DatagramBounds[] {
  const count = Math.ceil(length / size);
  return Array.from({ length: count }, (_, index) => ({
    at: index * size,
    end: Math.min((index + 1) * size, length),
  }));
}
