/** Checksums of IPv4 headers, and of TCP and UDP with their pseudo-headers (RFC 9293 §3.1, RFC 8200 §8.1). */
import { fold, wordOf } from "./checksum.ts";
import { type FrameShape, IPV4, IPV6, Protocol, TCP, UDP } from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";

/** The sum of the pseudo-header, unfolded. */
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

export function checksumField({ protocol, transport }: FrameShape): number {
  return transport + (protocol === Protocol.Tcp ? TCP.checksum : UDP.checksum);
}

/** What stands in the field for a sum. UDP's 0 means that there is no checksum. */
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
 * Whether the checksums are there, and written as everybody writes them: all ones stands for zero nowhere but in
 * UDP, whose zero means none.
 */
function areChecksumsCanonical(view: DataView, shape: FrameShape): boolean {
  const { ip, isIpv4, protocol } = shape;
  if (isIpv4 && view.getUint16(ip + IPV4.checksum) === 0xffff) return false;
  return view.getUint16(checksumField(shape)) !== (protocol === Protocol.Tcp ? 0xffff : 0);
}

/** Whether all checksums are canonical, and right. */
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
 * Makes the checksum that a device has left to make (NEEDS_CHECKSUM): the field holds the pseudo-header's sum.
 * @param start of what is summed
 * @param field within it
 * @returns false where that makes no sense
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
