/** Message vectors and I/O vectors for sendmmsg(2) and recvmmsg(2), built in place. */
import { addressOf, createMemory, type Memory, setWord64 } from "../../../linux/memory.ts";
import {
  AF_INET,
  IP_TOS,
  IPV6_PKTINFO,
  IPV6_TCLASS,
  SOCKADDR_BYTES,
  SOL_IP,
  SOL_IPV6,
  SOL_UDP,
  UDP_SEGMENT,
} from "../../../linux/socket.ts";
import type { Arena } from "./arena.ts";

/** struct mmsghdr on LP64: the msghdr, then the length of the message. */
const MMSGHDR_BYTES = 64;
const MSG = {
  name: 0,
  nameBytes: 8,
  iov: 16,
  iovCount: 24,
  control: 32,
  controlBytes: 40,
} as const;
const MSG_FLAGS = 48;
const MSG_LENGTH = 56;
const MSG_TRUNC = 0x20;
const NAME_BYTES = 32;
const IOVEC_BYTES = 16;

/** struct cmsghdr, and after it the data of a UDP_SEGMENT (u16) or UDP_GRO (int), padded (cmsg(3)). */
const CONTROL_BYTES = 24;
const CMSG = { length: 0, level: 8, type: 12, data: 16 } as const;
const CMSG_HEADER_BYTES = 16;
/** struct in6_pktinfo (ipv6(7)): an address and an interface index. */
const PKTINFO_BYTES = 20;
/** An IPV6_PKTINFO, padded. */
const PKTINFO_CONTROL_BYTES = 40;
/** An IP_TOS or IPV6_TCLASS (int), padded. */
const CLASS_CONTROL_BYTES = 24;
/** Room for the control messages of a sent message. Those of a received message need less. */
const CONTROL_STRIDE = PKTINFO_CONTROL_BYTES + CLASS_CONTROL_BYTES;
/** The first word of the address in an IPV6_PKTINFO. */
const DESTINATION_WORD = CMSG.data / 4;

if (NAME_BYTES < SOCKADDR_BYTES) throw new RangeError("NAME_BYTES");

/** I/O vectors: pieces of the arena. */
export class IoVectors {
  readonly arena: Arena;
  readonly #memory: Memory;

  constructor(arena: Arena, count: number) {
    this.arena = arena;
    this.#memory = createMemory(count * IOVEC_BYTES);
  }

  /** @throws RangeError if the piece is outside of the arena */
  set(index: number, at: number, length: number): void {
    const { view } = this.#memory;
    setWord64(view, index * IOVEC_BYTES, addressOf(this.arena, at, length));
    view.setUint32(index * IOVEC_BYTES + 8, length, true);
  }

  addressOf(index: number, count: number): number {
    return addressOf(this.#memory, index * IOVEC_BYTES, count * IOVEC_BYTES);
  }

  /** Returns the bytes of a piece. For fakes. */
  piece(index: number): Uint8Array {
    const { view } = this.#memory;
    const low = view.getUint32(index * IOVEC_BYTES, true);
    const high = view.getUint32(index * IOVEC_BYTES + 4, true);
    const at = high * 0x1_0000_0000 + low - this.arena.address;
    return this.arena.bytes.subarray(at, at + view.getUint32(index * IOVEC_BYTES + 8, true));
  }
}

/** Messages, each with an address and a control message. Their pieces are in the I/O vectors. */
export class MessageVectors {
  readonly count: number;
  readonly #pieces: IoVectors;
  readonly #messages: Memory;
  readonly #names: Memory;
  readonly #controls: Memory;
  /** The names in 32-bit words: 8 for each message. */
  readonly #nameWords: Uint32Array;
  /** The same memory as signed numbers, which V8 stores without allocation. */
  readonly #sourceWords: Int32Array;
  /** The control messages, in 32-bit words. */
  readonly #controlWords: Int32Array;

  constructor(pieces: IoVectors, count: number) {
    this.count = count;
    this.#pieces = pieces;
    this.#messages = createMemory(count * MMSGHDR_BYTES);
    this.#names = createMemory(count * NAME_BYTES);
    this.#controls = createMemory(count * CONTROL_STRIDE);
    const { buffer, byteOffset, length } = this.#names.bytes;
    this.#nameWords = new Uint32Array(buffer, byteOffset, length / 4);
    this.#sourceWords = new Int32Array(buffer, byteOffset, length / 4);
    const controls = this.#controls.bytes;
    this.#controlWords = new Int32Array(controls.buffer, controls.byteOffset, controls.length / 4);
    const { view } = this.#messages;
    for (let index = 0; index < count; index++) {
      const message = index * MMSGHDR_BYTES;
      const name = addressOf(this.#names, index * NAME_BYTES, NAME_BYTES);
      const control = addressOf(this.#controls, index * CONTROL_STRIDE, CONTROL_STRIDE);
      setWord64(view, message + MSG.name, name);
      setWord64(view, message + MSG.control, control);
    }
  }

  addressOf(index: number, count: number): number {
    return addressOf(this.#messages, index * MMSGHDR_BYTES, count * MMSGHDR_BYTES);
  }

  setPieces(index: number, first: number, count: number): void {
    const { view } = this.#messages;
    const message = index * MMSGHDR_BYTES;
    setWord64(view, message + MSG.iov, this.#pieces.addressOf(first, count));
    view.setUint32(message + MSG.iovCount, count, true);
  }

  /** Sets the destination: a struct sockaddr in 32-bit words. */
  setDestination(index: number, words: Uint32Array): void {
    const base = index * (NAME_BYTES / 4);
    for (let i = 0; i < words.length; i++) this.#nameWords[base + i] = words[i] as number;
    this.#messages.view.setUint32(index * MMSGHDR_BYTES + MSG.nameBytes, words.length * 4, true);
  }

  /** Makes the kernel segment the message into datagrams of `bytes` (udp(7)); 0: one datagram. */
  setSegment(index: number, bytes: number): void {
    const length = index * MMSGHDR_BYTES + MSG.controlBytes;
    this.#messages.view.setUint32(length, bytes === 0 ? 0 : CONTROL_BYTES, true);
    if (bytes === 0) return;
    const { view } = this.#controls;
    const control = index * CONTROL_STRIDE;
    view.setUint32(control + CMSG.length, CMSG_HEADER_BYTES + 2, true);
    view.setUint32(control + CMSG.level, SOL_UDP, true);
    view.setUint32(control + CMSG.type, UDP_SEGMENT, true);
    view.setUint16(control + CMSG.data, bytes, true);
  }

  /** Prepares the first `count` messages to receive sources and control messages. */
  expect(count: number): void {
    const { view } = this.#messages;
    for (let at = 0; at < count * MMSGHDR_BYTES; at += MMSGHDR_BYTES) {
      view.setUint32(at + MSG.nameBytes, NAME_BYTES, true);
      view.setUint32(at + MSG.controlBytes, CONTROL_STRIDE, true);
    }
  }

  /** Sets a message's source address: the words of a struct sockaddr_in6. Call it after `setSegment`. */
  setSource(index: number, words: Uint32Array): void {
    const control = index * CONTROL_STRIDE;
    const { view } = this.#controls;
    const length = index * MMSGHDR_BYTES + MSG.controlBytes;
    this.#messages.view.setUint32(length, PKTINFO_CONTROL_BYTES, true);
    view.setUint32(control + CMSG.length, CMSG_HEADER_BYTES + PKTINFO_BYTES, true);
    view.setUint32(control + CMSG.level, SOL_IPV6, true);
    view.setUint32(control + CMSG.type, IPV6_PKTINFO, true);
    const at = control / 4 + DESTINATION_WORD;
    for (let i = 0; i < 4; i++) this.#controlWords[at + i] = words[2 + i] as number;
    // No interface index: the routing table selects the interface.
    this.#controlWords[at + 4] = 0;
  }

  /** Sets a message's traffic class. Call it after `setSegment` and `setSource`. */
  addTrafficClass(index: number, value: number): void {
    const messages = this.#messages.view;
    const length = index * MMSGHDR_BYTES + MSG.controlBytes;
    const before = messages.getUint32(length, true);
    messages.setUint32(length, before + CLASS_CONTROL_BYTES, true);
    const isIpv4 = this.#names.view.getUint16(index * NAME_BYTES, true) === AF_INET;
    const { view } = this.#controls;
    const control = index * CONTROL_STRIDE + before;
    view.setUint32(control + CMSG.length, CMSG_HEADER_BYTES + 4, true);
    view.setUint32(control + CMSG.level, isIpv4 ? SOL_IP : SOL_IPV6, true);
    view.setUint32(control + CMSG.type, isIpv4 ? IP_TOS : IPV6_TCLASS, true);
    view.setUint32(control + CMSG.data, value, true);
  }

  /** Returns one of the four words of the message's IPv6 source address. */
  sourceWord(index: number, word: number): number {
    return this.#sourceWords[index * (NAME_BYTES / 4) + 2 + word] as number;
  }

  /** True if the kernel reported the message's IPv6 destination address. */
  hasDestination(index: number): boolean {
    const { view } = this.#controls;
    const control = index * CONTROL_STRIDE;
    const length = this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG.controlBytes, true);
    return (
      length >= CMSG_HEADER_BYTES + PKTINFO_BYTES &&
      view.getUint32(control + CMSG.level, true) === SOL_IPV6 &&
      view.getUint32(control + CMSG.type, true) === IPV6_PKTINFO
    );
  }

  /** Returns one of the four words of the message's IPv6 destination address. */
  destinationWord(index: number, word: number): number {
    return this.#controlWords[index * (CONTROL_STRIDE / 4) + DESTINATION_WORD + word] as number;
  }

  receivedBytes(index: number): number {
    return this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG_LENGTH, true);
  }

  wasTruncated(index: number): boolean {
    const flags = this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG_FLAGS, true);
    return (flags & MSG_TRUNC) !== 0;
  }

  /** Returns the bytes of each datagram except the last, if the kernel has joined several; 0: one datagram. */
  receivedSegment(index: number): number {
    const length = this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG.controlBytes, true);
    if (length < CMSG_HEADER_BYTES + 4) return 0;
    const { view } = this.#controls;
    const control = index * CONTROL_STRIDE;
    // The kernel puts UDP_GRO first (udp_cmsg_recv).
    if (view.getUint32(control + CMSG.level, true) !== SOL_UDP) return 0;
    return view.getUint32(control + CMSG.data, true);
  }

  /** Returns the traffic class of the received packets; 0: also if the kernel did not report it. */
  receivedTrafficClass(index: number): number {
    const { view } = this.#controls;
    let at = index * CONTROL_STRIDE;
    const all = this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG.controlBytes, true);
    for (const end = at + all; at + CMSG_HEADER_BYTES < end; ) {
      const level = view.getUint32(at + CMSG.level, true);
      const type = view.getUint32(at + CMSG.type, true);
      const isClass =
        (level === SOL_IP && type === IP_TOS) || (level === SOL_IPV6 && type === IPV6_TCLASS);
      if (isClass) return view.getUint8(at + CMSG.data);
      const length = view.getUint32(at + CMSG.length, true);
      if (length < CMSG_HEADER_BYTES) return 0;
      // CMSG_ALIGN.
      at += (length + 7) & ~7;
    }
    return 0;
  }

  /**
   * True if the message came from the address that `words` encode. Ignores an IPv6 address's flow label (word 1) and
   * scope (word 6), which do not identify the sender. IPv4 ends with word 1.
   */
  isFrom(index: number, words: Uint32Array, ignorePort: boolean): boolean {
    const name = this.#nameWords;
    const base = index * (NAME_BYTES / 4);
    const head = (name[base] as number) ^ (words[0] as number);
    if ((ignorePort ? head & 0xffff : head) !== 0) return false;
    if (words.length === 4) return name[base + 1] === words[1];
    for (let i = 2; i < 6; i++) if (name[base + i] !== words[i]) return false;
    return true;
  }

  /** Copies the struct sockaddr of the message's sender. */
  copyName(index: number, to: Uint8Array): void {
    const at = index * NAME_BYTES;
    for (let i = 0; i < to.length; i++) to[i] = this.#names.bytes[at + i] as number;
  }

  /** Fills a message as the kernel does on reception. For fakes. */
  pretendReceived(index: number, bytes: Uint8Array, segment: number, sockaddr: Uint8Array): void {
    const { view } = this.#messages;
    const message = index * MMSGHDR_BYTES;
    this.#pieces.piece(this.#firstPiece(index)).set(bytes);
    view.setUint32(message + MSG_LENGTH, bytes.length, true);
    view.setUint32(message + MSG_FLAGS, 0, true);
    view.setUint32(message + MSG.controlBytes, segment === 0 ? 0 : CONTROL_BYTES, true);
    const control = index * CONTROL_STRIDE;
    this.#controls.view.setUint32(control + CMSG.length, CMSG_HEADER_BYTES + 4, true);
    this.#controls.view.setUint32(control + CMSG.level, SOL_UDP, true);
    this.#controls.view.setUint32(control + CMSG.data, segment, true);
    this.#names.bytes.set(sockaddr, index * NAME_BYTES);
  }

  /** Pretends that the kernel reported the traffic class of a received IPv4 message. For fakes. */
  pretendTrafficClass(index: number, value: number): void {
    const { view } = this.#messages;
    const bytes = index * MMSGHDR_BYTES + MSG.controlBytes;
    const before = view.getUint32(bytes, true);
    const at = index * CONTROL_STRIDE + before;
    const controls = this.#controls.view;
    controls.setUint32(at + CMSG.length, CMSG_HEADER_BYTES + 1, true);
    controls.setUint32(at + CMSG.level, SOL_IP, true);
    controls.setUint32(at + CMSG.type, IP_TOS, true);
    controls.setUint8(at + CMSG.data, value);
    view.setUint32(bytes, before + CLASS_CONTROL_BYTES, true);
  }

  /** Pretends that a received message had the struct sockaddr_in6 as its destination. For fakes. */
  pretendSentTo(index: number, sockaddr: Uint8Array): void {
    this.setSource(index, new Uint32Array(Uint8Array.from(sockaddr).buffer));
  }

  /** Returns the datagrams into which the kernel would segment a message. For fakes. */
  datagrams(index: number): Uint8Array[] {
    const first = this.#firstPiece(index);
    const { view } = this.#messages;
    const message = index * MMSGHDR_BYTES;
    const count = view.getUint32(message + MSG.iovCount, true);
    const pieces = Array.from({ length: count }, (_, i) => this.#pieces.piece(first + i));
    const all = Buffer.concat(pieces);
    const controls = this.#controls.view;
    const isCut =
      view.getUint32(message + MSG.controlBytes, true) >= CONTROL_BYTES &&
      controls.getUint32(index * CONTROL_STRIDE + CMSG.level, true) === SOL_UDP;
    if (!isCut) return [all];
    const size = this.#controls.view.getUint16(index * CONTROL_STRIDE + CMSG.data, true);
    const parts = Math.ceil(all.length / size);
    return Array.from({ length: parts }, (_, i) => all.subarray(i * size, (i + 1) * size));
  }

  /** Returns the traffic class of a sent message; 0: that of the socket. For fakes. */
  trafficClass(index: number): number {
    const all = this.#messages.view.getUint32(index * MMSGHDR_BYTES + MSG.controlBytes, true);
    const { view } = this.#controls;
    const last = index * CONTROL_STRIDE + all - CLASS_CONTROL_BYTES;
    const type = all < CLASS_CONTROL_BYTES ? 0 : view.getUint32(last + CMSG.type, true);
    const length = all < CLASS_CONTROL_BYTES ? 0 : view.getUint32(last + CMSG.length, true);
    const isClass = length === CMSG_HEADER_BYTES + 4 && (type === IP_TOS || type === IPV6_TCLASS);
    return isClass ? view.getUint32(last + CMSG.data, true) : 0;
  }

  #firstPiece(index: number): number {
    const { view } = this.#messages;
    const low = view.getUint32(index * MMSGHDR_BYTES + MSG.iov, true);
    const high = view.getUint32(index * MMSGHDR_BYTES + MSG.iov + 4, true);
    const base = this.#pieces.addressOf(0, 0);
    return (high * 0x1_0000_0000 + low - base) / IOVEC_BYTES;
  }
}
