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

/** NetlinkAttributes by type; the last one of a type wins. */
export class NetlinkAttributes {
  readonly #values = new Map<number, Buffer>();

  /** @param offset where they start: behind the fixed header */
  constructor(payload: Buffer, offset = 0) {
    for (let at = offset; at + NLA_HEADER_BYTES <= payload.length; ) {
      const length = payload.readUInt16LE(at);
      if (length < NLA_HEADER_BYTES || at + length > payload.length) {
        throw new RangeError(`netlink attribute of ${length} bytes in ${payload.length - at}`);
      }
      const type = payload.readUInt16LE(at + 2) & NLA_TYPE_MASK;
      this.#values.set(type, payload.subarray(at + NLA_HEADER_BYTES, at + length));
      at += align(length);
    }
  }

  bytes(type: number): Buffer | undefined {
    return this.#values.get(type);
  }

  u8(type: number): number | undefined {
    return this.#values.get(type)?.readUInt8();
  }

  u16(type: number): number | undefined {
    return this.#values.get(type)?.readUInt16LE();
  }

  u32(type: number): number | undefined {
    return this.#values.get(type)?.readUInt32LE();
  }

  /** Exact up to 2⁵³. */
  u64(type: number): number | undefined {
    const value = this.#values.get(type)?.readBigUInt64LE();
    return value === undefined ? undefined : Number(value);
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  /** All of them, in no particular order: for lists, where the types are mere numbers. */
  children(): NetlinkAttributes[] {
    return Array.from(this.#values.values(), (value) => new NetlinkAttributes(value));
  }

  string(type: number): string | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString("utf8", 0, end < 0 ? value.length : end);
  }

  nested(type: number): NetlinkAttributes | undefined {
    const value = this.#values.get(type);
    return value === undefined ? undefined : new NetlinkAttributes(value);
  }
}
