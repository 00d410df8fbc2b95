/**
 * Cuts what a device hands over as one large frame into the frames that it stands for, as the kernel would
 * (net/ipv4/tcp_offload.c, udp_offload.c). Headers are written anew; payloads stay where they are.
 */
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
import {
  checksumField,
  checksumOf,
  pseudoHeaderSum,
  setIpv4Checksum,
} from "./transport-checksum.ts";
import { GSO_ECN, GsoType } from "./vnet-header.ts";

/** Ethernet with two tags, IPv6, TCP with all its options, and as much again of IP options. */
export const MAX_FRAME_HEADER_BYTES = 192;

const FIN_PSH = 0x09;
const CWR = 0x80;

export class Segmenter {
  readonly #memory: PacketMemory;
  /** The large frame, and in `write` the segment. */
  readonly #whole = createFrameShape();
  readonly #part = createFrameShape();
  #gsoSize = 0;
  #firstId = 0;
  #firstSequence = 0;
  #lastFlags = 0;
  /** Bytes of a segment's headers, the same for all. */
  headerBytes = 0;
  /** Of the segment that was written last. */
  payloadAt = 0;
  payloadBytes = 0;

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
    this.#gsoSize = gsoSize;
    if (whole.isIpv4) this.#firstId = view.getUint16(ip + IPV4.id);
    if (whole.protocol === Protocol.Tcp) {
      this.#firstSequence = view.getUint32(whole.transport + TCP.sequence);
      this.#lastFlags = view.getUint8(whole.transport + TCP.flags);
    }
    return Math.max(1, Math.ceil((end - whole.payload) / gsoSize));
  }

  /** By the device's word; whether the headers agree with that. */
  #findPayload(type: number): boolean {
    const { view } = this.#memory;
    const whole = this.#whole;
    const { ip, transport, end } = whole;
    const version = ipVersionAt(view, ip);
    whole.isIpv4 = version === 4;
    if (version !== 4 && version !== 6) return false;
    if (transport < ip + (whole.isIpv4 ? MIN_IPV4_HEADER_BYTES : IPV6_HEADER_BYTES)) return false;
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

  /** Writes the headers of a segment, and says where its payload is. */
  write(index: number, to: number): void {
    const { bytes, view, sum } = this.#memory;
    const whole = this.#whole;
    const part = this.#part;
    const skipped = index * this.#gsoSize;
    this.payloadAt = whole.payload + skipped;
    this.payloadBytes = Math.min(this.#gsoSize, whole.end - this.payloadAt);
    bytes.copyWithin(to, whole.at, whole.payload);
    part.protocol = whole.protocol;
    part.ip = to + whole.ip - whole.at;
    part.transport = to + whole.transport - whole.at;
    const { ip, transport, protocol } = part;
    const transportHeader = whole.payload - whole.transport;
    const transportBytes = transportHeader + this.payloadBytes;
    if (whole.isIpv4) {
      view.setUint16(ip + IPV4.length, transport - ip + transportBytes);
      view.setUint16(ip + IPV4.id, this.#firstId + index);
      setIpv4Checksum(this.#memory, ip, transport - ip);
    } else {
      view.setUint16(ip + IPV6.length, transport - ip - IPV6_HEADER_BYTES + transportBytes);
    }
    if (protocol === Protocol.Udp) view.setUint16(transport + UDP.length, transportBytes);
    else this.#writeTcp(transport, skipped, this.payloadAt + this.payloadBytes === whole.end);
    const field = checksumField(part);
    view.setUint16(field, 0);
    const all =
      pseudoHeaderSum(this.#memory, ip, whole.isIpv4, protocol, transportBytes) +
      sum(transport, transportHeader) +
      sum(this.payloadAt, this.payloadBytes);
    view.setUint16(field, checksumOf(all, protocol), true);
  }

  #writeTcp(transport: number, skipped: number, isLast: boolean): void {
    const { view } = this.#memory;
    view.setUint32(transport + TCP.sequence, this.#firstSequence + skipped);
    let flags = this.#lastFlags;
    if (!isLast) flags &= ~FIN_PSH;
    if (skipped > 0) flags &= ~CWR;
    view.setUint8(transport + TCP.flags, flags);
  }
}
