/** Checksums of IPv4 headers, and of TCP and UDP with their pseudo-headers (RFC 9293 §3.1, RFC 8200 §8.1). */
import { fold, wordOf } from "./checksum.ts";
import { type FrameShape, IPV4, IPV6, Protocol, TCP, UDP } from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";

/** Returns the unfolded sum of the pseudo-header. */
export function pseudoHeaderSum(
  memory: PacketMemory,
  ip: number,
  isIpv4: boolean,
  protocol: number,
  transportBytes: number,
): number {
  const addresses = isIpv4
    ? memory.sum(ip + IPV4.addresses, 8)
    : memory.sum(ip + IPV6.addresses, 32);
  return addresses + wordOf(protocol) + wordOf(transportBytes);
}

/** Returns the address of the TCP or UDP checksum. */
export function checksumField({ protocol, transport }: FrameShape): number {
  return transport + (protocol === Protocol.Tcp ? TCP.checksum : UDP.checksum);
}

/** Returns the checksum field for a sum. A UDP checksum of 0 means "no checksum". */
function checksumOf(sum: number, protocol: number): number {
  const value = ~fold(sum) & 0xffff;
  return value === 0 && protocol === Protocol.Udp ? 0xffff : value;
}

/** Writes the checksum of the IPv4 header. */
export function setIpv4Checksum({ view, sum }: PacketMemory, ip: number, headerBytes: number) {
  view.setUint16(ip + IPV4.checksum, 0);
  view.setUint16(ip + IPV4.checksum, ~fold(sum(ip, headerBytes)) & 0xffff, true);
}

/**
 * True if the checksums are present and canonical. Only UDP writes all ones for zero, because its zero means "no
 * checksum".
 */
function areChecksumsCanonical(view: DataView, shape: FrameShape): boolean {
  const { ip, isIpv4, protocol } = shape;
  if (isIpv4 && view.getUint16(ip + IPV4.checksum) === 0xffff) return false;
  return view.getUint16(checksumField(shape)) !== (protocol === Protocol.Tcp ? 0xffff : 0);
}

/** True if all checksums are canonical and correct. */
export function isIntact(memory: PacketMemory, shape: FrameShape): boolean {
  const { view, sum } = memory;
  const { ip, isIpv4, protocol, transport, end } = shape;
  if (!areChecksumsCanonical(view, shape)) return false;
  if (isIpv4 && fold(sum(ip, transport - ip)) !== 0xffff) return false;
  const bytes = end - transport;
  const pseudo = pseudoHeaderSum(memory, ip, isIpv4, protocol, bytes);
  return fold(pseudo + sum(transport, bytes)) === 0xffff;
}

/**
 * Completes a partial checksum of a device (NEEDS_CHECKSUM): the field holds the pseudo-header's sum.
 * @param start offset of the summed bytes in the frame
 * @param field offset of the field from `start`
 * @returns false if the field is outside of the frame
 */
export function completeChecksum(
  { view, sum }: PacketMemory,
  at: number,
  end: number,
  start: number,
  field: number,
): boolean {
  if (at + start + field + 2 > end) return false;
  const protocol = field === UDP.checksum ? Protocol.Udp : Protocol.Tcp;
  const value = checksumOf(sum(at + start, end - at - start), protocol);
  view.setUint16(at + start + field, value, true);
  return true;
}
