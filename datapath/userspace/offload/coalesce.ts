/**
 * Joins consecutive frames of one TCP or UDP flow into one large frame, as the kernel's GRO does
 * (net/ipv4/tcp_offload.c): only frames that segmenting restores exactly. The large frame grows at the place of the
 * first one.
 */
import { IPV6_HEADER_BYTES } from "../../../net/headers.ts";
import { fold } from "./checksum.ts";
import {
  createFrameShape,
  findTransport,
  IPV4,
  IPV6,
  MAX_PREFIX_BYTES,
  Protocol,
  TCP,
  UDP,
} from "./frame.ts";
import type { PacketMemory } from "./packet-memory.ts";
import { checksumField, isIntact, pseudoHeaderSum, setIpv4Checksum } from "./transport-checksum.ts";
import { GsoType } from "./vnet-header.ts";

/** The maximum number of segments that every device accepts. */
export const MAX_COALESCED = 64;
/** Ethernet with three tags, IPv4 and TCP with all options. */
const MAX_HEADER_BYTES = 26 + 60 + 60;
/** The last vector of a comparison may extend this far past the headers. */
const VECTOR_BYTES = 16;
const FLAG = { psh: 0x08, ack: 0x10 } as const;

/** Indices in the state for coalesce.wat. */
const STATE = {
  first: 0,
  headerBytes: 1,
  mask: 2,
  ip: 3,
  isIpv4: 4,
  transport: 5,
  isTcp: 6,
  ipSum: 7,
  transportSum: 8,
  end: 9,
  limit: 10,
  segmentBytes: 11,
  payloadBytes: 12,
  nextId: 13,
  nextSequence: 14,
  frames: 15,
  maxFrames: 16,
  isOpen: 17,
  hasPsh: 18,
  isVerified: 19,
  saved: 20,
  length: 21,
} as const;

export class Coalescer {
  readonly #memory: PacketMemory;
  /** The first frame, whose headers the large frame has. */
  readonly #first = createFrameShape();
  readonly #stateAt: number;
  readonly #state: Int32Array;
  /** Address of a frame's mask, after the mask of the prefix. */
  readonly #mask: number;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#stateAt = memory.reserve(STATE.length * 4);
    const state = new Int32Array(memory.bytes.buffer, this.#stateAt, STATE.length);
    this.#state = state;
    this.#mask =
      memory.reserve(MAX_PREFIX_BYTES + MAX_HEADER_BYTES + VECTOR_BYTES) + MAX_PREFIX_BYTES;
    memory.bytes.fill(0xff, this.#mask - MAX_PREFIX_BYTES, this.#mask);
    state[STATE.mask] = this.#mask;
    state[STATE.maxFrames] = MAX_COALESCED;
    state[STATE.saved] = memory.reserve(MAX_HEADER_BYTES);
  }

  /** The number of frames in the pending frame; 0: no frame is pending. */
  get frames(): number {
    return this.#state[STATE.frames] as number;
  }

  /** Address of the pending frame. */
  get at(): number {
    return this.#state[STATE.first] as number;
  }

  get end(): number {
    return this.#state[STATE.end] as number;
  }

  /** Payload bytes of a segment; the last may have fewer. */
  get segmentBytes(): number {
    return this.#state[STATE.segmentBytes] as number;
  }

  /** The gso_type of the large frame (virtio_net_hdr). */
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
   * Makes the frame the pending one. The previous pending frame must have been written.
   * @param limit the address up to which the frame may grow over unused memory
   * @param takesUdp true: UDP may be joined, too
   * @param isBare true: the frame is an IP datagram
   */
  begin(at: number, end: number, limit: number, takesUdp: boolean, isBare = false): void {
    const first = this.#first;
    const state = this.#state;
    const { view } = this.#memory;
    state[STATE.frames] = 1;
    state[STATE.first] = at;
    state[STATE.end] = end;
    state[STATE.isOpen] = 0;
    if (!findTransport(view, at, end, isBare, first) || first.payload === end) return;
    const isTcp = first.protocol === Protocol.Tcp;
    // A sender sets PSH when it has no more data for now.
    if (isTcp ? view.getUint8(first.transport + TCP.flags) !== FLAG.ack : !takesUdp) return;
    this.#describe(first.ip - at, first.transport - at, first.payload - at, isTcp);
    const bytes = end - first.payload;
    state[STATE.isOpen] = 1;
    state[STATE.isVerified] = 0;
    state[STATE.hasPsh] = 0;
    state[STATE.limit] = limit;
    state[STATE.segmentBytes] = bytes;
    state[STATE.payloadBytes] = bytes;
    if (first.isIpv4) state[STATE.nextId] = view.getUint16(first.ip + IPV4.id) + 1;
    if (isTcp) state[STATE.nextSequence] = view.getInt32(first.transport + TCP.sequence) + bytes;
  }

  /** Returns true if the frame joined the pending one. All memory between the two must have been read. */
  join(at: number, end: number): boolean {
    return this.joinMany(0, at, end - at, end) === 1;
  }

  /**
   * Joins frames while each is the next segment of the pending frame. The frames are at the ends of adjacent datagrams.
   * @param prefixBytes bytes in front of the frame in each datagram; they must equal the first one's
   * @param at address of the first datagram
   * @param size bytes of a datagram; the last may be shorter
   * @param end end address of the last datagram
   * @returns the number of joined frames
   */
  joinMany(prefixBytes: number, at: number, size: number, end: number): number {
    const joined = this.#memory.join(this.#stateAt, prefixBytes, at, size, end);
    if (joined >= 0) return joined;
    return this.#verify() ? this.#memory.join(this.#stateAt, prefixBytes, at, size, end) : 0;
  }

  /** Completes the headers of the large frame. A frame that no other joined stays as it is. */
  finish(): void {
    const state = this.#state;
    const { frames } = this;
    state[STATE.isOpen] = 0;
    state[STATE.frames] = 0;
    if (frames < 2) return;
    const { view } = this.#memory;
    const { ip, isIpv4, protocol, transport, payload } = this.#first;
    const transportBytes = payload - transport + (state[STATE.payloadBytes] as number);
    if (isIpv4) {
      view.setUint16(ip + IPV4.length, transport - ip + transportBytes);
      setIpv4Checksum(this.#memory, ip, transport - ip);
    } else {
      view.setUint16(ip + IPV6.length, transport - ip - IPV6_HEADER_BYTES + transportBytes);
    }
    if (protocol === Protocol.Udp) view.setUint16(transport + UDP.length, transportBytes);
    else if (state[STATE.hasPsh] !== 0) {
      view.setUint8(transport + TCP.flags, FLAG.ack | FLAG.psh);
    }
    const pseudo = pseudoHeaderSum(this.#memory, ip, isIpv4, protocol, transportBytes);
    view.setUint16(checksumField(this.#first), fold(pseudo), true);
  }

  /** Describes the headers, and masks the bits that may differ between frames: lengths, numbers and PSH. */
  #describe(ip: number, transport: number, headerBytes: number, isTcp: boolean): void {
    const state = this.#state;
    const { isIpv4 } = this.#first;
    // Usually the layout is the previous frame's.
    if (
      state[STATE.ip] === ip &&
      state[STATE.isIpv4] === (isIpv4 ? 1 : 0) &&
      state[STATE.transport] === transport &&
      state[STATE.isTcp] === (isTcp ? 1 : 0) &&
      state[STATE.headerBytes] === headerBytes
    ) {
      return;
    }
    state[STATE.ip] = ip;
    state[STATE.isIpv4] = isIpv4 ? 1 : 0;
    state[STATE.transport] = transport;
    state[STATE.isTcp] = isTcp ? 1 : 0;
    state[STATE.headerBytes] = headerBytes;
    const { bytes, view } = this.#memory;
    const mask = this.#mask;
    bytes.fill(0xff, mask, mask + headerBytes);
    bytes.fill(0, mask + headerBytes, mask + MAX_HEADER_BYTES + VECTOR_BYTES);
    if (isIpv4) {
      view.setUint32(mask + ip + IPV4.length, 0);
      view.setUint16(mask + ip + IPV4.checksum, 0);
    } else {
      view.setUint16(mask + ip + IPV6.length, 0);
    }
    if (isTcp) {
      view.setUint32(mask + transport + TCP.sequence, 0);
      view.setUint8(mask + transport + TCP.flags, ~FLAG.psh);
      view.setUint16(mask + transport + TCP.checksum, 0);
    } else {
      view.setUint32(mask + transport + UDP.length, 0);
    }
  }

  /** Returns true if the first frame is intact. Otherwise no frame may join it. */
  #verify(): boolean {
    const { view, sum } = this.#memory;
    const first = this.#first;
    const state = this.#state;
    if (!isIntact(this.#memory, first)) {
      state[STATE.isOpen] = 0;
      return false;
    }
    const { ip, isIpv4, protocol, transport, payload } = first;
    const word = (at: number) => view.getUint16(at, true);
    if (isIpv4) {
      state[STATE.ipSum] =
        sum(ip, transport - ip) -
        word(ip + IPV4.length) -
        word(ip + IPV4.id) -
        word(ip + IPV4.checksum);
    }
    const changing =
      protocol === Protocol.Tcp
        ? word(transport + TCP.sequence) +
          word(transport + TCP.sequence + 2) +
          (view.getUint8(transport + TCP.flags) << 8) +
          word(transport + TCP.checksum)
        : word(transport + UDP.length) + word(transport + UDP.checksum);
    state[STATE.transportSum] =
      pseudoHeaderSum(this.#memory, ip, isIpv4, protocol, 0) +
      sum(transport, payload - transport) -
      changing;
    state[STATE.isVerified] = 1;
    return true;
  }
}
