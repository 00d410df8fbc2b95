/** Netlink messages and attributes (include/uapi/linux/netlink.h). Integers are in host byte order: little-endian. */

export const NLMSG_HEADER_BYTES = 16;
const NLA_HEADER_BYTES = 4;
export const NLM_F_ACK = 0x4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const align = (bytes: number): number => (bytes + 3) & ~3;

/** Builds a message. The buffer grows as required; `finish` sets the length. */
export class MessageWriter {
  #buffer = Buffer.alloc(256);
  #length = NLMSG_HEADER_BYTES;

  /** @param header the fixed part after nlmsghdr, such as struct ifinfomsg */
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

  /** Adds a string with a terminating zero. */
  string(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  bytes(type: number, value: Uint8Array): this {
    this.#buffer.set(value, this.#attribute(type, value.length));
    return this;
  }

  /** Adds an attribute whose presence is its value. */
  flag(type: number): this {
    return this.bytes(type, new Uint8Array());
  }

  /** Adds an attribute with attributes inside. @param header a fixed part in front of them */
  nested(type: number, fill: (writer: this) => void, header: Uint8Array = new Uint8Array()): this {
    const start = this.#length;
    this.bytes(type | NLA_F_NESTED, header);
    fill(this);
    this.#buffer.writeUInt16LE(this.#length - start, start);
    return this;
  }

  /**
   * Returns the message with its length, and with `sequence` to match replies.
   * @param quiet true: the kernel replies only on failure
   */
  finish(sequence: number, quiet = false): Buffer {
    this.#buffer.writeUInt32LE(this.#length, 0);
    if (quiet) this.#buffer.writeUInt16LE(this.#buffer.readUInt16LE(6) & ~NLM_F_ACK, 6);
    this.#buffer.writeUInt32LE(sequence, 8);
    return this.#buffer.subarray(0, this.#length);
  }

  /** Writes the header of an attribute. Returns the offset of its value. */
  #attribute(type: number, bytes: number): number {
    const at = this.#reserve(NLA_HEADER_BYTES + bytes);
    this.#buffer.writeUInt16LE(NLA_HEADER_BYTES + bytes, at);
    this.#buffer.writeUInt16LE(type, at + 2);
    return at + NLA_HEADER_BYTES;
  }

  /** Reserves bytes at the end, zeroed up to a multiple of four. Returns their offset. */
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

/** Parses the messages of one datagram. @throws RangeError if a length exceeds the datagram */
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
 * Attributes by type; the last one of a type wins. Each lookup searches the payload: a node's links have some fifty
 * attributes each, of which few are read.
 */
export class NetlinkAttributes {
  readonly #payload: Buffer;
  readonly #start: number;
  readonly #end: number;

  /**
   * @param start offset of the first attribute, after the fixed header
   * @throws RangeError if a length exceeds the payload
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

  /** Returns the offset of the attribute, or −1. */
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

  /** Returns the offset of a value of `bytes`; undefined: the attribute is missing. */
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

  /** Returns the contents of all attributes in order: for lists, whose types are only indices. */
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
