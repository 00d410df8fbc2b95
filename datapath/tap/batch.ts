/**
 * The memory of the packet path: slots of one arena, and the kernel's message vectors over them,
 * written once at start. Nothing here is allocated after that.
 *
 * A frame starts at FRAME_OFFSET of its slot, on 2 modulo 4, so that the IP header behind its
 * 14-byte Ethernet header is aligned. In front of it there is room for the L2TP header or for a
 * virtio_net_hdr, behind it for the largest segment that an offloading device may hand over.
 */

import { MAX_HEADER_BYTES } from "../../l2tp/codec.ts";
import { addressOf, createMemory, type Memory, setWord64 } from "../sys/memory.ts";
import { SOCKADDR_BYTES } from "../sys/socket.ts";

/** Messages in one system call. */
export const BATCH_SIZE = 64;
export const FRAME_OFFSET = 66;
/** The largest frame or datagram: what 16 bits of IP length allow. */
export const FRAME_CAPACITY = 65_536;
/** Not a power of two, so that the heads of the slots spread over the sets of the cache. */
const SLOT_BYTES = FRAME_CAPACITY + 256;

/** struct mmsghdr of LP64: the msghdr, then the length of the message (recvmmsg(2)). */
const MMSGHDR_BYTES = 64;
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_FLAGS = 48;
const MSG_LENGTH = 56;
const IOVEC_BYTES = 16;
const NAME_BYTES = 32;
const MSG_TRUNC = 0x20;

if (FRAME_OFFSET % 4 !== 2 || FRAME_OFFSET < MAX_HEADER_BYTES) throw new RangeError("FRAME_OFFSET");
if (NAME_BYTES < SOCKADDR_BYTES) throw new RangeError("NAME_BYTES");

export class PacketBatch {
  /** All slots, as the codec sees them. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly slots: Memory;
  readonly #messages: Memory;
  readonly #names: Memory;
  /** The names, by 32-bit words: 8 a message. */
  readonly #nameWords: Uint32Array;

  /** @param spareSlots behind those that messages point to, for the caller's own use */
  constructor(spareSlots: number) {
    this.slots = createMemory((BATCH_SIZE + spareSlots) * SLOT_BYTES);
    this.view = this.slots.view;
    this.bytes = this.slots.bytes;
    this.#messages = createMemory(BATCH_SIZE * (MMSGHDR_BYTES + IOVEC_BYTES));
    this.#names = createMemory(BATCH_SIZE * NAME_BYTES);
    this.#nameWords = new Uint32Array(
      this.#names.bytes.buffer,
      this.#names.bytes.byteOffset,
      this.#names.bytes.length / 4,
    );
    const { view } = this.#messages;
    for (let i = 0; i < BATCH_SIZE; i++) {
      const message = i * MMSGHDR_BYTES;
      const iovec = this.#iovec(i);
      const name = addressOf(this.#names, i * NAME_BYTES, NAME_BYTES);
      setWord64(view, message + MSG_NAME, name);
      setWord64(view, message + MSG_IOV, addressOf(this.#messages, iovec, IOVEC_BYTES));
      setWord64(view, message + MSG_IOVLEN, 1);
      this.setPayload(i, this.frameOffset(i), FRAME_CAPACITY);
    }
  }

  /** Where the frame of the slot begins, in `view` and `bytes`. */
  frameOffset(slot: number): number {
    return slot * SLOT_BYTES + FRAME_OFFSET;
  }

  /** What the message of the slot sends, or where it receives to. */
  setPayload(slot: number, offset: number, length: number): void {
    const { view } = this.#messages;
    const iovec = this.#iovec(slot);
    setWord64(view, iovec, addressOf(this.slots, offset, length));
    view.setUint32(iovec + 8, length, true);
  }

  /** Where the message of the slot goes: a struct sockaddr by 32-bit words. */
  setDestination(slot: number, words: Uint32Array): void {
    const base = slot * (NAME_BYTES / 4);
    for (let i = 0; i < words.length; i++) this.#nameWords[base + i] = words[i] as number;
    this.#messages.view.setUint32(slot * MMSGHDR_BYTES + MSG_NAMELEN, words.length * 4, true);
  }

  /** Makes the first slots ready for the kernel to write source addresses to. */
  resetNames(count: number): void {
    const { view } = this.#messages;
    for (let slot = 0; slot < count; slot++) {
      view.setUint32(slot * MMSGHDR_BYTES + MSG_NAMELEN, NAME_BYTES, true);
    }
  }

  /**
   * Whether the message came from the address that `words` encode. Of an IPv6 address the flow
   * label (word 1) and the scope (word 6) say nothing about who sent it; IPv4 ends with word 1.
   */
  isFrom(slot: number, words: Uint32Array, ignorePort: boolean): boolean {
    const name = this.#nameWords;
    const base = slot * (NAME_BYTES / 4);
    const head = (name[base] as number) ^ (words[0] as number);
    // The family lies in the lower half of word 0, the port in the upper one.
    if (ignorePort ? (head & 0xffff) !== 0 : head !== 0) return false;
    if (words.length === 4) return name[base + 1] === words[1];
    return (
      name[base + 2] === words[2] &&
      name[base + 3] === words[3] &&
      name[base + 4] === words[4] &&
      name[base + 5] === words[5]
    );
  }

  /** Copies the slot's struct sockaddr. */
  copyName(slot: number, to: Uint8Array): void {
    const base = slot * NAME_BYTES;
    for (let i = 0; i < to.length; i++) to[i] = this.#names.bytes[base + i] as number;
  }

  /** Bytes that the kernel put into the slot. */
  receivedLength(slot: number): number {
    return this.#messages.view.getUint32(slot * MMSGHDR_BYTES + MSG_LENGTH, true);
  }

  wasTruncated(slot: number): boolean {
    return (
      (this.#messages.view.getUint32(slot * MMSGHDR_BYTES + MSG_FLAGS, true) & MSG_TRUNC) !== 0
    );
  }

  /** The bytes that the message of the slot sends. For fakes. */
  payload(slot: number): Uint8Array {
    const iovec = this.#iovec(slot);
    const { view } = this.#messages;
    const low = view.getUint32(iovec, true);
    const address = view.getUint32(iovec + 4, true) * 0x1_0000_0000 + low;
    const offset = address - this.slots.address;
    return this.bytes.subarray(offset, offset + view.getUint32(iovec + 8, true));
  }

  /** What the kernel would note of a message that came. For fakes. */
  pretendReceived(slot: number, length: number, sockaddr: Uint8Array): void {
    this.#messages.view.setUint32(slot * MMSGHDR_BYTES + MSG_LENGTH, length, true);
    this.#messages.view.setUint32(slot * MMSGHDR_BYTES + MSG_FLAGS, 0, true);
    this.#names.bytes.set(sockaddr, slot * NAME_BYTES);
  }

  /** The address of the kernel's message vector from the slot on. */
  messagesAt(slot: number, count: number): number {
    return addressOf(this.#messages, slot * MMSGHDR_BYTES, count * MMSGHDR_BYTES);
  }

  #iovec(slot: number): number {
    return BATCH_SIZE * MMSGHDR_BYTES + slot * IOVEC_BYTES;
  }
}
