/** Netlink messages and attributes (include/uapi/linux/netlink.h). Integers are the host's: little-endian. */

export const NLMSG_HEADER_BYTES = 16;
const NLA_HEADER_BYTES = 4;
export const NLM_F_ACK = 0x4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const align = (bytes: number): number => (bytes + 3) & ~3;

/** A message under construction. It grows as it must; `finish` sets the lengths. */
export class MessageWriter {
  #buffer = Buffer.alloc(256);
  #length = NLMSG_HEADER_BYTES;

  /** @param header the fixed part behind nlmsghdr, such as struct ifinfomsg */
  constructor(type: number, flags: number, header: Uint8Array) {
    this.#buffer.writeUInt16LE(type, 4);
    this.#buffer.writeUInt16LE(flags, 6);
    this.#buffer.set(header, this.#reserve(header.length));
  }

  u8(type: number, value: number): this {
    this.#buffer.writeUInt8(value, this.#attribute(type, 1));
    return this;
  }

  u16(type: number, value: number): this {
    this.#buffer.writeUInt16LE(value, this.#attribute(type, 2));
    return this;
  }

  u32(type: number, value: number): this {
    this.#buffer.writeUInt32LE(value >>> 0, this.#attribute(type, 4));
    return this;
  }

  u64(type: number, value: number): this {
    this.#buffer.writeBigUInt64LE(BigInt(value), this.#attribute(type, 8));
    return this;
  }

  /** A string with its terminating zero. */
  string(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  bytes(type: number, value: Uint8Array): this {
    this.#buffer.set(value, this.#attribute(type, value.length));
    return this;
  }

  /** An attribute that says what it says by being there. */
  flag(type: number): this {
    return this.bytes(type, new Uint8Array());
  }

  /** NetlinkAttributes inside an attribute. @param header a fixed part in front of them */
  nested(type: number, fill: (writer: this) => void, header: Uint8Array = new Uint8Array()): this {
    const start = this.#length;
    this.bytes(type | NLA_F_NESTED, header);
    fill(this);
    this.#buffer.writeUInt16LE(this.#length - start, start);
    return this;
  }

  /**
   * The message with its length, and `sequence` to know the replies by.
   * @param quiet the kernel answers only if it fails
   */
  finish(sequence: number, quiet = false): Buffer {
    this.#buffer.writeUInt32LE(this.#length, 0);
    if (quiet) this.#buffer.writeUInt16LE(this.#buffer.readUInt16LE(6) & ~NLM_F_ACK, 6);
    this.#buffer.writeUInt32LE(sequence, 8);
    return this.#buffer.subarray(0, this.#length);
  }

  /** The header of an attribute; returns where its value goes. */
  #attribute(type: number, bytes: number): number {
    const at = this.#reserve(NLA_HEADER_BYTES + bytes);
    this.#buffer.writeUInt16LE(NLA_HEADER_BYTES + bytes, at);
    this.#buffer.writeUInt16LE(type, at + 2);
    return at + NLA_HEADER_BYTES;
  }

  /** Room at the end, zeroed up to the next multiple of four; returns where it begins. */
  #reserve(bytes: number): number {
    const start = this.#length;
    this.#length = start + align(bytes);
    if (this.#length > this.#buffer.length) {
      const grown = Buffer.alloc(this.#length * 2);
      this.#buffer.copy(grown);
      this.#buffer = grown;
    }
    return start;
  }
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** The messages of one datagram. @throws RangeError where a length does not fit */
export function parseMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + NLMSG_HEADER_BYTES <= datagram.length; ) {
    const length = datagram.readUInt32LE(at);
    if (length < NLMSG_HEADER_BYTES || at + length > datagram.length) {
      throw new RangeError(`netlink message of ${length} bytes in ${datagram.length - at}`);
    }
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      payload: datagram.subarray(at + NLMSG_HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/**
 * Attributes by type; the last one of a type wins. They are looked up in the payload itself: a node's links have some
 * fifty attributes each, and few of them are asked for.
 */
export class NetlinkAttributes {
  readonly #payload: Buffer;
  readonly #start: number;
  readonly #end: number;

  /**
   * @param start where the first one begins: behind the fixed header
   * @throws RangeError where a length does not fit
   */
  constructor(payload: Buffer, start = 0, end = payload.length) {
    this.#payload = payload;
    this.#start = start;
    this.#end = end;
    for (let at = start; at + NLA_HEADER_BYTES <= end; at = this.#next(at)) {
      const length = payload.readUInt16LE(at);
      if (length < NLA_HEADER_BYTES || at + length > end) {
        throw new RangeError(`netlink attribute of ${length} bytes in ${end - at}`);
      }
    }
  }

  #next(at: number): number {
    return at + align(this.#payload.readUInt16LE(at));
  }

  #typeAt(at: number): number {
    return this.#payload.readUInt16LE(at + 2) & NLA_TYPE_MASK;
  }

  /** The offset of the attribute, or -1. */
  #find(type: number): number {
    let found = -1;
    for (let at = this.#start; at + NLA_HEADER_BYTES <= this.#end; at = this.#next(at)) {
      if (this.#typeAt(at) === type) found = at;
    }
    return found;
  }

  #endOf(at: number): number {
    return at + this.#payload.readUInt16LE(at);
  }

  /** The offset of a value of so many bytes; undefined: there is no such attribute. */
  #number(type: number, bytes: number): number | undefined {
    const at = this.#find(type);
    if (at < 0) return undefined;
    const value = at + NLA_HEADER_BYTES;
    if (value + bytes > this.#endOf(at)) throw new RangeError(`netlink attribute ${type} is short`);
    return value;
  }

  bytes(type: number): Buffer | undefined {
    const at = this.#find(type);
    if (at < 0) return undefined;
    return this.#payload.subarray(at + NLA_HEADER_BYTES, this.#endOf(at));
  }

  u8(type: number): number | undefined {
    const at = this.#number(type, 1);
    return at === undefined ? undefined : this.#payload.readUInt8(at);
  }

  u16(type: number): number | undefined {
    const at = this.#number(type, 2);
    return at === undefined ? undefined : this.#payload.readUInt16LE(at);
  }

  u32(type: number): number | undefined {
    const at = this.#number(type, 4);
    return at === undefined ? undefined : this.#payload.readUInt32LE(at);
  }

  /** Exact up to 2⁵³. */
  u64(type: number): number | undefined {
    const at = this.#number(type, 8);
    return at === undefined ? undefined : Number(this.#payload.readBigUInt64LE(at));
  }

  has(type: number): boolean {
    return this.#find(type) >= 0;
  }

  /** All of them, in their order: for lists, where the types are mere numbers. */
  children(): NetlinkAttributes[] {
    const children: NetlinkAttributes[] = [];
    for (let at = this.#start; at + NLA_HEADER_BYTES <= this.#end; at = this.#next(at)) {
      children.push(this.#inside(at));
    }
    return children;
  }

  string(type: number): string | undefined {
    const at = this.#find(type);
    if (at < 0) return undefined;
    const [start, end] = [at + NLA_HEADER_BYTES, this.#endOf(at)];
    const zero = this.#payload.indexOf(0, start);
    return this.#payload.toString("utf8", start, zero < 0 || zero > end ? end : zero);
  }

  nested(type: number): NetlinkAttributes | undefined {
    const at = this.#find(type);
    return at < 0 ? undefined : this.#inside(at);
  }

  #inside(at: number): NetlinkAttributes {
    return new NetlinkAttributes(this.#payload, at + NLA_HEADER_BYTES, this.#endOf(at));
  }
}
