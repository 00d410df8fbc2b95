/**
 * Cuts a captured UDP payload into datagrams of L2TPv3. The kernel joins datagrams of one size before a packet socket
 * sees what came, and cuts what is sent after it (UDP_GRO, UDP_SEGMENT), and does not tell the size. Pure.
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
 * The datagrams of a payload, which begins with a data message: a head of L2TPv3 with a known session ID stands in equal
 * distances up to the end, or there is one datagram.
 * @param octets the payload from its first octet on; a capture may have cut it
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

/** True if a head stands at each place where a datagram would begin. */
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
