/**
 * Segments a device's large frame as the kernel would (net/ipv4/tcp_offload.c, udp_offload.c).
 */
import {
  IPV4_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  MIN_TCP_HEADER_BYTES,
  UDP_HEADER_BYTES,
} from "../../../net/headers.ts";
import { fold, wordOf } from "./checksum.ts";
import {
  createFrameShape,
  findIp,
  IPV4,
  ipVersionAt,
  MAX_PREFIX_BYTES,
  Protocol,
  TCP,
  tcpHeaderBytes,
  UDP,
} from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";
import { GSO_ECN, GsoType } from "./vnet-header.ts";

/** Ethernet with three tags, IPv6, TCP with all options, and 66 bytes of IP options or extension headers. */
export const MAX_FRAME_HEADER_BYTES = 192;

/** The number of the smallest TCP segments: 48 bytes, less 12 of options (net.ipv4.tcp_min_snd_mss). */
const MAX_SEGMENTS = 2048;

/** Indices in the plan for segment.wat. */
const PLAN = {
  headers: 0,
  headerBytes: 1,
  payload: 2,
  payloadBytes: 3,
  segmentBytes: 4,
  ip: 5,
  isIpv4: 6,
  transport: 7,
  isTcp: 8,
  ipSum: 9,
  transportSum: 10,
  id: 11,
  sequence: 12,
  flags: 13,
  length: 14,
} as const;

export class Segmenter {
  readonly #memory: PacketMemory;
  readonly #whole = createFrameShape();
  readonly #planAt: number;
  readonly #plan: Int32Array;
  /** Address of the headers of all segments. The caller may write a prefix in front. */
  readonly headersAt: number;
  /** Bytes of a segment's headers, the same for all. */
  headerBytes = 0;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#planAt = memory.reserve(PLAN.length * 4);
    this.#plan = new Int32Array(memory.bytes.buffer, this.#planAt, PLAN.length);
    this.headersAt = memory.reserve(MAX_PREFIX_BYTES + MAX_FRAME_HEADER_BYTES) + MAX_PREFIX_BYTES;
    this.#plan[PLAN.headers] = this.headersAt;
  }

  /**
   * Prepares to segment a frame, which it does not change.
   * @param checksumStart offset of its TCP or UDP header
   * @param isBare true: the frame is an IP datagram
   * @returns the number of segments; 0: the device's header is inconsistent
   */
  start(
    at: number,
    end: number,
    gsoType: number,
    gsoSize: number,
    checksumStart: number,
    isBare = false,
  ): number {
    const { view } = this.#memory;
    const whole = this.#whole;
    const ip = findIp(view, at, end, isBare);
    if (ip === 0 || gsoSize === 0) return 0;
    whole.at = at;
    whole.end = end;
    whole.ip = ip;
    whole.transport = at + checksumStart;
    if (!this.#findPayload(gsoType & ~GSO_ECN)) return 0;
    this.headerBytes = whole.payload - at;
    if (whole.payload > end || this.headerBytes > MAX_FRAME_HEADER_BYTES) return 0;
    const count = Math.max(1, Math.ceil((end - whole.payload) / gsoSize));
    if (count > MAX_SEGMENTS) return 0;
    this.#prepare(gsoSize);
    return count;
  }

  /** Copies the headers, zeroes the fields that differ between segments, and sums the rest. */
  #prepare(gsoSize: number): void {
    const { bytes, view, sum } = this.#memory;
    const { at, isIpv4, protocol, payload, end } = this.#whole;
    const plan = this.#plan;
    const isTcp = protocol === Protocol.Tcp;
    const to = this.headersAt;
    const ip = to + this.#whole.ip - at;
    const transport = to + this.#whole.transport - at;
    bytes.copyWithin(to, at, payload);
    plan[PLAN.headerBytes] = payload - at;
    plan[PLAN.payload] = payload;
    plan[PLAN.payloadBytes] = end - payload;
    plan[PLAN.segmentBytes] = gsoSize;
    plan[PLAN.ip] = ip - to;
    plan[PLAN.isIpv4] = isIpv4 ? 1 : 0;
    plan[PLAN.transport] = transport - to;
    plan[PLAN.isTcp] = isTcp ? 1 : 0;
    if (isIpv4) {
      plan[PLAN.id] = view.getUint16(ip + IPV4.id);
      view.setUint16(ip + IPV4.length, 0);
      view.setUint16(ip + IPV4.id, 0);
      view.setUint16(ip + IPV4.checksum, 0);
      plan[PLAN.ipSum] = sum(ip, transport - ip);
    }
    if (isTcp) {
      plan[PLAN.sequence] = view.getInt32(transport + TCP.sequence);
      plan[PLAN.flags] = view.getUint8(transport + TCP.flags);
      view.setUint32(transport + TCP.sequence, 0);
      view.setUint8(transport + TCP.flags, 0);
    } else {
      view.setUint16(transport + UDP.length, 0);
    }
    // The field holds the pseudo-header's sum. Only the length is subtracted: the sum's address may be the final
    // destination of a routing header, which is unknown here.
    const field = transport + (isTcp ? TCP.checksum : UDP.checksum);
    const length = (end - this.#whole.transport) & 0xffff;
    const pseudo = view.getUint16(field, true) + 0xffff - wordOf(length);
    view.setUint16(field, 0);
    plan[PLAN.transportSum] = fold(pseudo + sum(transport, payload - this.#whole.transport));
  }

  /** Finds the payload by the device's header. Returns false if the frame's headers contradict it. */
  #findPayload(type: number): boolean {
    const { view } = this.#memory;
    const whole = this.#whole;
    const { ip, transport, end } = whole;
    const version = ipVersionAt(view, ip);
    whole.isIpv4 = version === 4;
    if (version !== 4 && version !== 6) return false;
    if (whole.isIpv4 ? !endsIpv4Header(view, ip, transport) : !endsIpv6Header(ip, transport)) {
      return false;
    }
    if (type === GsoType.Udp) {
      whole.protocol = Protocol.Udp;
      whole.payload = transport + UDP_HEADER_BYTES;
      return true;
    }
    whole.protocol = Protocol.Tcp;
    if (transport + MIN_TCP_HEADER_BYTES > end) return false;
    const headerBytes = tcpHeaderBytes(view, transport);
    whole.payload = transport + headerBytes;
    return (
      headerBytes >= MIN_TCP_HEADER_BYTES &&
      type === (whole.isIpv4 ? GsoType.TcpIpv4 : GsoType.TcpIpv6)
    );
  }

  /** Returns the bytes of a segment's payload. */
  payloadBytes(index: number): number {
    const gsoSize = this.#plan[PLAN.segmentBytes] as number;
    return Math.min(gsoSize, (this.#plan[PLAN.payloadBytes] as number) - index * gsoSize);
  }

  /**
   * Writes segments, each a whole frame, one after the other.
   * @param prefixBytes bytes in front of `headersAt` to copy in front of each segment
   */
  write(first: number, count: number, to: number, prefixBytes: number): void {
    this.#memory.segment(this.#planAt, prefixBytes, first, count, to);
  }
}

function endsIpv4Header(view: DataView, ip: number, transport: number): boolean {
  const bytes = (view.getUint8(ip) & 0x0f) * 4;
  return bytes >= IPV4_HEADER_BYTES && transport === ip + bytes;
}

/** The length of an extension header is a multiple of eight bytes (RFC 8200 §4). */
function endsIpv6Header(ip: number, transport: number): boolean {
  const extensions = transport - ip - IPV6_HEADER_BYTES;
  return extensions >= 0 && extensions % 8 === 0;
}
