/**
 * Cuts what a device hands over as one large frame into the frames that it stands for, as the kernel would
 * (net/ipv4/tcp_offload.c, udp_offload.c). The large frame's own headers are spent in that.
 */
import { fold, wordOf } from "./checksum.ts";
import {
  createFrameShape,
  findIp,
  IPV4,
  IPV6,
  IPV6_HEADER_BYTES,
  ipVersionAt,
  MIN_IPV4_HEADER_BYTES,
  MIN_TCP_HEADER_BYTES,
  Protocol,
  TCP,
  tcpHeaderBytes,
  UDP,
  UDP_HEADER_BYTES,
} from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";
import { checksumField, checksumOf } from "./transport-checksum.ts";
import { GSO_ECN, GsoType } from "./vnet-header.ts";

/** Ethernet with two tags, IPv6, TCP with all its options, and as much again of IP options. */
export const MAX_FRAME_HEADER_BYTES = 192;

/** With the smallest segments that TCP makes: 48 bytes, less 12 of options (net.ipv4.tcp_min_snd_mss). */
const MAX_SEGMENTS = 2048;
const FIN_PSH = 0x09;
const CWR = 0x80;

export class Segmenter {
  readonly #memory: PacketMemory;
  readonly #whole = createFrameShape();
  #gsoSize = 0;
  /** Sums of what is the same in all segments: of the IPv4 header, and of what the other checksum covers. */
  #ipSum = 0;
  #transportSum = 0;
  #firstId = 0;
  #firstSequence = 0;
  #lastFlags = 0;
  /** Bytes of a segment's headers, the same for all. */
  headerBytes = 0;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  /**
   * Takes a frame.
   * @param checksumStart where its TCP or UDP header begins
   * @returns how many segments there are; 0 where what the device says makes no sense
   */
  start(at: number, end: number, gsoType: number, gsoSize: number, checksumStart: number): number {
    const { view } = this.#memory;
    const whole = this.#whole;
    const ip = findIp(view, at, end);
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
    this.#gsoSize = gsoSize;
    this.#prepare();
    return count;
  }

  /** Takes out of the headers what differs from segment to segment, and sums up the rest. */
  #prepare(): void {
    const { view, sum } = this.#memory;
    const { ip, isIpv4, protocol, transport, payload, end } = this.#whole;
    if (isIpv4) {
      this.#firstId = view.getUint16(ip + IPV4.id);
      view.setUint16(ip + IPV4.length, 0);
      view.setUint16(ip + IPV4.id, 0);
      view.setUint16(ip + IPV4.checksum, 0);
      this.#ipSum = sum(ip, transport - ip);
    }
    if (protocol === Protocol.Tcp) {
      this.#firstSequence = view.getUint32(transport + TCP.sequence);
      this.#lastFlags = view.getUint8(transport + TCP.flags);
      view.setUint32(transport + TCP.sequence, 0);
      view.setUint8(transport + TCP.flags, 0);
    } else {
      view.setUint16(transport + UDP.length, 0);
    }
    // The pseudo-header's sum stands there, with the length of the whole taken out again: who else may have made
    // it knows the final destination behind a routing header.
    const field = checksumField(this.#whole);
    const pseudo = view.getUint16(field, true) + 0xffff - wordOf((end - transport) & 0xffff);
    view.setUint16(field, 0);
    this.#transportSum = pseudo + sum(transport, payload - transport);
  }

  /** By the device's word; whether the headers agree with that. */
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

  /** Bytes of a segment's payload. */
  payloadBytes(index: number): number {
    const { payload, end } = this.#whole;
    return Math.min(this.#gsoSize, end - payload - index * this.#gsoSize);
  }

  /** Writes a segment, which is a whole frame. */
  write(index: number, to: number): void {
    const { view, copySum } = this.#memory;
    const whole = this.#whole;
    const skipped = index * this.#gsoSize;
    const payloadBytes = this.payloadBytes(index);
    this.#copyHeader(to);
    const ip = to + whole.ip - whole.at;
    const transport = to + whole.transport - whole.at;
    const transportBytes = whole.payload - whole.transport + payloadBytes;
    if (whole.isIpv4) {
      const length = transport - ip + transportBytes;
      const id = (this.#firstId + index) & 0xffff;
      view.setUint16(ip + IPV4.length, length);
      view.setUint16(ip + IPV4.id, id);
      const checksum = ~fold(this.#ipSum + wordOf(length) + wordOf(id)) & 0xffff;
      view.setUint16(ip + IPV4.checksum, checksum, true);
    } else {
      view.setUint16(ip + IPV6.length, transport - ip - IPV6_HEADER_BYTES + transportBytes);
    }
    const all =
      this.#transportSum +
      wordOf(transportBytes) +
      (whole.protocol === Protocol.Udp
        ? this.#writeUdp(transport, transportBytes)
        : this.#writeTcp(
            transport,
            skipped,
            skipped + payloadBytes === whole.end - whole.payload,
          )) +
      copySum(whole.payload + skipped, to + this.headerBytes, payloadBytes);
    const field = transport + checksumField(whole) - whole.transport;
    view.setUint16(field, checksumOf(all, whole.protocol), true);
  }

  /** By words: a call of copyWithin costs more than so few of them. */
  #copyHeader(to: number): void {
    const { view } = this.#memory;
    const { at, payload } = this.#whole;
    const bytes = payload - at;
    let done = 0;
    for (; done + 4 <= bytes; done += 4) {
      view.setUint32(to + done, view.getUint32(at + done, true), true);
    }
    if (done < bytes) view.setUint16(to + done, view.getUint16(at + done, true), true);
  }

  /** @returns the sum of what it has written */
  #writeUdp(transport: number, bytes: number): number {
    this.#memory.view.setUint16(transport + UDP.length, bytes);
    return wordOf(bytes);
  }

  /** @returns the sum of what it has written */
  #writeTcp(transport: number, skipped: number, isLast: boolean): number {
    const { view } = this.#memory;
    const sequence = (this.#firstSequence + skipped) >>> 0;
    view.setUint32(transport + TCP.sequence, sequence);
    let flags = this.#lastFlags;
    if (!isLast) flags &= ~FIN_PSH;
    if (skipped > 0) flags &= ~CWR;
    view.setUint8(transport + TCP.flags, flags);
    // The flags are the second byte of their word.
    return wordOf(sequence >>> 16) + wordOf(sequence & 0xffff) + (flags << 8);
  }
}

function endsIpv4Header(view: DataView, ip: number, transport: number): boolean {
  const bytes = (view.getUint8(ip) & 0x0f) * 4;
  return bytes >= MIN_IPV4_HEADER_BYTES && transport === ip + bytes;
}

/** Extension headers are of eight bytes each, or more of them (RFC 8200 §4). */
function endsIpv6Header(ip: number, transport: number): boolean {
  const extensions = transport - ip - IPV6_HEADER_BYTES;
  return extensions >= 0 && extensions % 8 === 0;
}
