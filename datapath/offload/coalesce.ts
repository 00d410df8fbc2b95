/**
 * Joins frames that follow each other in one TCP or UDP flow into one large frame, as the kernel's GRO does
 * (net/ipv4/tcp_offload.c): only what segmenting would take apart into the very same frames. The large frame
 * grows in the place of the first one.
 */
import { fold, wordOf } from "./checksum.ts";
import {
  createFrameShape,
  type FrameShape,
  findTransport,
  IPV4,
  IPV6,
  IPV6_HEADER_BYTES,
  Protocol,
  TCP,
  UDP,
} from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";
import {
  areChecksumsCanonical,
  checksumField,
  isIntact,
  pseudoHeaderSum,
  setIpv4Checksum,
} from "./transport-checksum.ts";
import { GsoType } from "./vnet-header.ts";

/** What segmenting may make of one frame again, with any device. */
export const MAX_COALESCED = 64;
const MAX_IP_BYTES = 65_535;
/** Ethernet with two tags, IPv4 and TCP with all their options. */
const MAX_HEADER_BYTES = 22 + 60 + 60;
const FLAG = { psh: 0x08, ack: 0x10 } as const;
/** In the word of offset, flags and window. */
const PSH_IN_WORD = 0x0008_0000;

export class Coalescer {
  readonly #memory: PacketMemory;
  /** The first frame; its headers become those of all. */
  readonly #first = createFrameShape();
  readonly #next = createFrameShape();
  /** Whether frames may still join. */
  #isOpen = false;
  /** Whether the first frame's checksums have been looked at. */
  #isVerified = false;
  /** Sums of what is the same in all frames: of the IPv4 header, and of the pseudo-header. */
  #ipSum = 0;
  #pseudoSum = 0;
  #nextSequence = 0;
  #nextId = 0;
  #hasPsh = false;
  /** The headers of the frame at hand. */
  readonly #saved = new Uint8Array(MAX_HEADER_BYTES);
  #payloadBytes = 0;
  /** Frames in the pending one; 0: none is pending. */
  frames = 0;
  /** Where the large frame is. */
  at = 0;
  end = 0;
  #limit = 0;
  /** Payload of a segment; the last may have less. */
  segmentBytes = 0;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  /** What the large frame is (virtio_net_hdr). */
  get gsoType(): GsoType {
    if (this.#first.protocol === Protocol.Udp) return GsoType.Udp;
    return this.#first.isIpv4 ? GsoType.TcpIpv4 : GsoType.TcpIpv6;
  }

  get headerBytes(): number {
    return this.#first.payload - this.#first.at;
  }

  get checksumStart(): number {
    return this.#first.transport - this.#first.at;
  }

  get checksumOffset(): number {
    return checksumField(this.#first) - this.#first.transport;
  }

  /**
   * Makes the frame the pending one. Whatever was pending must be out.
   * @param limit until where it may grow; nothing that is still needed may be there
   * @param takesUdp whether UDP may be joined, too
   */
  begin(at: number, end: number, limit: number, takesUdp: boolean): void {
    const first = this.#first;
    const { view } = this.#memory;
    this.frames = 1;
    this.at = at;
    this.end = end;
    this.#limit = limit;
    this.#isOpen = findTransport(view, at, end, first) && first.payload < end;
    if (!this.#isOpen) return;
    this.#isVerified = false;
    this.#hasPsh = false;
    this.segmentBytes = end - first.payload;
    this.#payloadBytes = this.segmentBytes;
    if (first.isIpv4) this.#nextId = (view.getUint16(first.ip + IPV4.id) + 1) & 0xffff;
    if (first.protocol === Protocol.Udp) {
      this.#isOpen = takesUdp;
      return;
    }
    // A sender that pushes has no more for now.
    this.#isOpen = view.getUint8(first.transport + TCP.flags) === FLAG.ack;
    this.#nextSequence = view.getUint32(first.transport + TCP.sequence) + this.segmentBytes;
  }

  /** Whether the frame has joined the pending one. It may lie behind that, where all between has been read. */
  join(at: number, end: number): boolean {
    if (!this.#isOpen || this.frames === MAX_COALESCED) return false;
    const next = this.#next;
    if (!findTransport(this.#memory.view, at, end, next) || !this.#follows(next)) return false;
    const bytes = end - next.payload;
    if (this.end + bytes > this.#limit) return false;
    if (!this.#isVerified && !this.#verify()) return false;
    const flags = this.#memory.view.getUint8(next.transport + TCP.flags);
    if (!this.#takePayload(next)) return false;
    this.end += bytes;
    this.frames++;
    this.#payloadBytes += bytes;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    this.#nextSequence += bytes;
    this.#hasPsh = next.protocol === Protocol.Tcp && (flags & FLAG.psh) !== 0;
    this.#isOpen = bytes === this.segmentBytes && !this.#hasPsh;
    return true;
  }

  /** Makes the first frame's headers those of the large one; with one frame there is nothing to do. */
  finish(): void {
    const { frames } = this;
    this.#isOpen = false;
    this.frames = 0;
    if (frames === 1) return;
    const { view } = this.#memory;
    const { ip, isIpv4, protocol, transport, payload } = this.#first;
    const transportBytes = payload - transport + this.#payloadBytes;
    if (isIpv4) {
      view.setUint16(ip + IPV4.length, transport - ip + transportBytes);
      setIpv4Checksum(this.#memory, ip, transport - ip);
    } else {
      view.setUint16(ip + IPV6.length, transport - ip - IPV6_HEADER_BYTES + transportBytes);
    }
    if (protocol === Protocol.Udp) view.setUint16(transport + UDP.length, transportBytes);
    else if (this.#hasPsh) {
      view.setUint8(transport + TCP.flags, FLAG.ack | FLAG.psh);
    }
    const pseudo = pseudoHeaderSum(this.#memory, ip, isIpv4, protocol, transportBytes);
    view.setUint16(checksumField(this.#first), fold(pseudo), true);
  }

  /** Whether the first frame is intact; if not, none may join it. */
  #verify(): boolean {
    const { view, sum } = this.#memory;
    const first = this.#first;
    this.#isVerified = true;
    if (!isIntact(this.#memory, first)) {
      this.#isOpen = false;
      return false;
    }
    const { ip, isIpv4, protocol, transport } = first;
    this.#pseudoSum = pseudoHeaderSum(this.#memory, ip, isIpv4, protocol, 0);
    if (isIpv4) this.#ipSum = sum(ip, transport - ip) - changingWords(view, ip);
    return true;
  }

  /**
   * Puts the payload behind the pending frame, where its checksums are right: as isIntact, of a frame whose
   * headers are the first one's but for lengths and numbers. One pass over the payload does both; where it
   * shows that it is not intact, all is put back.
   */
  #takePayload(next: FrameShape): boolean {
    const { bytes: memory, view, sum, copySum } = this.#memory;
    const { at, ip, isIpv4, transport, payload, end } = next;
    if (!areChecksumsCanonical(view, next)) return false;
    if (isIpv4 && fold(this.#ipSum + changingWords(view, ip)) !== 0xffff) return false;
    const headers = this.#pseudoSum + wordOf(end - transport) + sum(transport, payload - transport);
    // Right behind the pending frame the payload moves over its own headers.
    const isNear = this.end + end - payload > at && this.end < end;
    if (isNear) this.#saved.set(memory.subarray(at, payload));
    if (fold(headers + copySum(payload, this.end, end - payload)) === 0xffff) return true;
    if (isNear) {
      memory.copyWithin(payload, this.end, this.end + end - payload);
      memory.set(this.#saved.subarray(0, payload - at), at);
    }
    return false;
  }

  /** Whether the frame could be the pending one's next segment: all but lengths, numbers and PSH is the same. */
  #follows(next: FrameShape): boolean {
    const first = this.#first;
    const { view } = this.#memory;
    const bytes = next.end - next.payload;
    if (bytes === 0 || bytes > this.segmentBytes) return false;
    if (next.protocol !== first.protocol || next.isIpv4 !== first.isIpv4) return false;
    if (next.ip - next.at !== first.ip - first.at) return false;
    if (next.transport - next.ip !== first.transport - first.ip) return false;
    if (next.payload - next.transport !== first.payload - first.transport) return false;
    if (first.payload - first.ip + this.#payloadBytes + bytes > MAX_IP_BYTES) return false;
    if (!this.#isSame(first.at, next.at, first.ip - first.at)) return false;
    if (first.isIpv4 ? !this.#followsInIpv4(next) : !this.#isSameIpv6(next)) return false;
    // Both ports.
    if (view.getUint32(next.transport) !== view.getUint32(first.transport)) return false;
    return first.protocol === Protocol.Udp || this.#followsInTcp(next);
  }

  #followsInIpv4({ ip, transport }: FrameShape): boolean {
    const { view } = this.#memory;
    const known = this.#first.ip;
    return (
      view.getUint16(ip + IPV4.id) === this.#nextId &&
      // Version, header length, DSCP, ECN.
      view.getUint16(ip) === view.getUint16(known) &&
      view.getUint16(ip + IPV4.fragment) === view.getUint16(known + IPV4.fragment) &&
      // TTL, protocol.
      view.getUint16(ip + 8) === view.getUint16(known + 8) &&
      this.#isSame(known + IPV4.addresses, ip + IPV4.addresses, transport - ip - IPV4.addresses)
    );
  }

  #isSameIpv6({ ip }: FrameShape): boolean {
    const { view } = this.#memory;
    const known = this.#first.ip;
    return (
      // Version, traffic class, flow label.
      view.getUint32(ip) === view.getUint32(known) &&
      // Hop limit, and addresses.
      this.#isSame(known + IPV6.nextHeader, ip + IPV6.nextHeader, 2 + 32)
    );
  }

  #followsInTcp({ transport, payload }: FrameShape): boolean {
    const { view } = this.#memory;
    const known = this.#first.transport;
    const words = view.getUint32(transport + TCP.offset) & ~PSH_IN_WORD;
    return (
      view.getUint32(transport + TCP.sequence) === this.#nextSequence >>> 0 &&
      view.getUint32(transport + TCP.acknowledgement) ===
        view.getUint32(known + TCP.acknowledgement) &&
      // Offset, flags, window.
      words === (view.getUint32(known + TCP.offset) & ~PSH_IN_WORD) &&
      // Urgent pointer and options.
      this.#isSame(known + 18, transport + 18, payload - transport - 18)
    );
  }

  /** An even number of bytes. */
  #isSame(one: number, two: number, length: number): boolean {
    const { view } = this.#memory;
    let at = 0;
    for (; at + 4 <= length; at += 4) {
      if (view.getUint32(one + at) !== view.getUint32(two + at)) return false;
    }
    return at === length || view.getUint16(one + at) === view.getUint16(two + at);
  }
}

/** The sum of an IPv4 header's length, id and checksum. */
function changingWords(view: DataView, ip: number): number {
  return (
    view.getUint16(ip + IPV4.length, true) +
    view.getUint16(ip + IPV4.id, true) +
    view.getUint16(ip + IPV4.checksum, true)
  );
}
