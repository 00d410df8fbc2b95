/**
 * AcceptedGso frames that follow each other in one TCP or UDP flow into one large frame, as the kernel's GRO does
 * (net/ipv4/tcp_offload.c): only what segmenting would take apart into the very same frames. The large frame
 * grows in the place of the first one.
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

/** What segmenting may make of one frame again, with any device. */
export const MAX_COALESCED = 64;
/** Ethernet with three tags, IPv4 and TCP with all their options. */
const MAX_HEADER_BYTES = 26 + 60 + 60;
/** The last vector of a comparison may reach so far. */
const VECTOR_BYTES = 16;
const FLAG = { psh: 0x08, ack: 0x10 } as const;

/** Places in the state that coalesce.wat works on. */
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
  /** The first frame; its headers become those of all. */
  readonly #first = createFrameShape();
  readonly #stateAt: number;
  readonly #state: Int32Array;
  /** Where the mask of a frame begins, behind that of the prefix. */
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

  /** Frames in the pending one; 0: none is pending. */
  get frames(): number {
    return this.#state[STATE.frames] as number;
  }

  /** Where the pending frame is. */
  get at(): number {
    return this.#state[STATE.first] as number;
  }

  get end(): number {
    return this.#state[STATE.end] as number;
  }

  /** Payload of a segment; the last may have less. */
  get segmentBytes(): number {
    return this.#state[STATE.segmentBytes] as number;
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
   * @param isBare the frame is an IP datagram
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
    // A sender that pushes has no more for now.
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

  /** Whether the frame has joined the pending one. It may lie behind that, where all between has been read. */
  join(at: number, end: number): boolean {
    return this.joinMany(0, at, end - at, end) === 1;
  }

  /**
   * AcceptedGso frames for as long as each is the pending one's next segment. They lie one behind the other, at the
   * ends of datagrams.
   * @param prefixBytes of each datagram, in front of its frame; they must be the first one's
   * @param at of the first datagram
   * @param size of a datagram; the last may be shorter
   * @param end of the last
   * @returns how many have joined
   */
  joinMany(prefixBytes: number, at: number, size: number, end: number): number {
    const joined = this.#memory.join(this.#stateAt, prefixBytes, at, size, end);
    if (joined >= 0) return joined;
    return this.#verify() ? this.#memory.join(this.#stateAt, prefixBytes, at, size, end) : 0;
  }

  /** Makes the first frame's headers those of the large one; with less than two there is nothing to do. */
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

  /** Where the headers are, and which of their bits the frames have in common: all but lengths, numbers and PSH. */
  #describe(ip: number, transport: number, headerBytes: number, isTcp: boolean): void {
    const state = this.#state;
    const { isIpv4 } = this.#first;
    // Most often it is as the one before.
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

  /** Whether the first frame is intact; if not, none may join it. */
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
