/** Netlink messages and attributes (include/uapi/linux/netlink.h). Integers are the host's: little-endian. */

export const NLMSG_HEADER_BYTES = 16;
const NLA_HEADER_BYTES = 4;
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
    this.#append(header);
  }

  u8(type: number, value: number): this {
    return this.bytes(type, Uint8Array.of(value));
  }

  u16(type: number, value: number): this {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
    return this.bytes(type, bytes);
  }

  u32(type: number, value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    return this.bytes(type, bytes);
  }

  u64(type: number, value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return this.bytes(type, bytes);
  }

  /** An attribute that says what it says by being there. */
  flag(type: number): this {
    return this.bytes(type, new Uint8Array());
  }

  /** A string with its terminating zero. */
  string(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  bytes(type: number, value: Uint8Array): this {
    const header = Buffer.alloc(NLA_HEADER_BYTES);
    header.writeUInt16LE(NLA_HEADER_BYTES + value.length, 0);
    header.writeUInt16LE(type, 2);
    this.#append(header);
    this.#append(value);
    return this;
  }

  /** Attributes inside an attribute. @param header a fixed part in front of them */
  nested(type: number, fill: (writer: this) => void, header: Uint8Array = new Uint8Array()): this {
    const start = this.#length;
    this.bytes(type | NLA_F_NESTED, header);
    fill(this);
    this.#buffer.writeUInt16LE(this.#length - start, start);
    return this;
  }

  /** The message with its length, and `sequence` to know the replies by. */
  finish(sequence: number): Buffer {
    this.#buffer.writeUInt32LE(this.#length, 0);
    this.#buffer.writeUInt32LE(sequence, 8);
    return this.#buffer.subarray(0, this.#length);
  }

  #append(bytes: Uint8Array): void {
    const end = this.#length + align(bytes.length);
    if (end > this.#buffer.length) {
      const grown = Buffer.alloc(end * 2);
      this.#buffer.copy(grown);
      this.#buffer = grown;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = end;
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

/** Attributes by type; the last one of a type wins. */
export class Attributes {
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
  children(): Attributes[] {
    return Array.from(this.#values.values(), (value) => new Attributes(value));
  }

  string(type: number): string | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString("utf8", 0, end < 0 ? value.length : end);
  }

  nested(type: number): Attributes | undefined {
    const value = this.#values.get(type);
    return value === undefined ? undefined : new Attributes(value);
  }
}
