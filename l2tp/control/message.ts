/**
 * The L2TPv3 control message (RFC 3931, 3.2.1 and 5.1), without the four zero octets in front of it over IP:
 *
 *     T L x x S x x x x x x x Ver=3 (2) | length (2) | control connection id (4) | Ns (2) | Nr (2) | AVPs
 *     AVP:  M H rsvd length (2) | vendor (2) | attribute type (2) | value
 *
 * Content of a message is not trusted before its digest is checked: see authentication.ts.
 */
import {
  ATTRIBUTE_KEYS,
  ATTRIBUTES,
  type Attribute,
  type AttributeKey,
  type Attributes,
  attributeOf,
  isDispensable,
  isOptionalIn,
  REQUIRED,
} from "./attributes.ts";
import { DIGEST_BYTES, DIGEST_TYPES, type DigestPlace, digestHashOf } from "./authentication.ts";
import type { Flaw } from "./flaw.ts";
import {
  CISCO,
  CISCO_ACK,
  CISCO_DIGEST,
  type CiscoAttribute,
  ciscoAttributeOf,
  version2Name,
} from "./foreign-attributes.ts";
import type { DigestHash } from "./hashes.ts";
import { type Hiding, hide, unhide } from "./hiding.ts";
import { MESSAGE_TYPES, type MessageType, messageTypeOf } from "./message-type.ts";
import { concat, type Octets, toHex } from "./octets.ts";
import { UINT16 } from "./value-formats.ts";

/** T, L and S bits, version 3. */
const FLAGS = 0xc803;
const REQUIRED_FLAGS = 0xc800;
const VERSION_MASK = 0x000f;
export const HEADER_BYTES = 12;
const AVP_HEADER_BYTES = 6;
const MANDATORY = 0x8000;
const HIDDEN = 0x4000;
const LENGTH_MASK = 0x03ff;
const TYPE_MESSAGE_TYPE = 0;
const TYPE_RANDOM_VECTOR = 36;
const TYPE_EXTENDED_VENDOR = 58;
/** Vendor and attribute type, in front of the value (5.4.1, Extended Vendor ID). */
const EXTENDED_VENDOR_BYTES = 6;
const TYPE_DIGEST = 59;
const TYPE_CONNECTION_ID = 61;
const TYPE_CISCO_CONNECTION_ID = 1;
export interface Header {
  /** The receiver's control connection ID; 0 while not known. */
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
}

/** A message before encoding. */
export interface Body {
  readonly type: MessageType;
  readonly attributes: Attributes;
}

/** An encoded body: the part of a message that is the same in each transmission. */
export interface EncodedBody {
  readonly type: MessageType;
  /** All AVPs except Message Type and Message Digest. */
  readonly avps: Octets;
}

/** Encodes a body. @param hiding key and vector for values that can be hidden, and the padding of each value */
export function encodeBody(
  { type, attributes }: Body,
  hiding: (Hiding & { readonly padding: Uint8Array }) | null = null,
): EncodedBody {
  const avps = ATTRIBUTE_KEYS.flatMap((key) => {
    const value = attributes[key];
    if (value === undefined) return [];
    const attribute = ATTRIBUTES[key] as Attribute<unknown>;
    const { type: number, format, mandatory, mayBeHidden, isStacked } = attribute;
    if (isStacked) {
      const items = value as readonly unknown[];
      return items.map((item) => avp(number, format.encode([item]), mandatory));
    }
    const octets = format.encode(value);
    const isMandatory = mandatory && !isOptionalIn(type, key);
    if (hiding === null || !mayBeHidden) return [avp(number, octets, isMandatory)];
    return [avp(number, hide(hiding, number, octets, hiding.padding), isMandatory, HIDDEN)];
  });
  const vector = hiding === null ? [] : [avp(TYPE_RANDOM_VECTOR, hiding.vector, true)];
  return { type, avps: concat(...vector, ...avps) };
}

/** Returns a message, and the places of its digests. @param hashes of the digests */
export function encodeMessage(
  { connectionId, ns, nr }: Header,
  { type, avps }: EncodedBody,
  hashes: readonly DigestHash[] = [],
): { readonly octets: Octets; readonly digests: readonly DigestPlace[] } {
  const head = new Uint8Array(HEADER_BYTES);
  const typeAvp = avp(TYPE_MESSAGE_TYPE, UINT16.encode(MESSAGE_TYPES[type]), true);
  const digestAvps = hashes.map((hash) => {
    const value = new Uint8Array(1 + DIGEST_BYTES[hash]);
    value[0] = DIGEST_TYPES[hash];
    return avp(TYPE_DIGEST, value, true);
  });
  const octets = concat(head, typeAvp, ...digestAvps, avps);
  const view = new DataView(octets.buffer);
  view.setUint16(0, FLAGS);
  view.setUint16(2, octets.length);
  view.setUint32(4, connectionId);
  view.setUint16(8, ns);
  view.setUint16(10, nr);
  let at = HEADER_BYTES + typeAvp.length;
  const digests = hashes.map((hash, index) => {
    const place = { hash, at: at + AVP_HEADER_BYTES + 1 };
    at += (digestAvps[index] as Octets).length;
    return place;
  });
  return { octets, digests };
}

function avp(type: number, value: Uint8Array, mandatory: boolean, more = 0): Octets {
  const head = new Uint8Array(AVP_HEADER_BYTES);
  const view = new DataView(head.buffer);
  const length = AVP_HEADER_BYTES + value.length;
  if (length > LENGTH_MASK) throw new RangeError(`an AVP ${type} of ${length} octets`);
  view.setUint16(0, (mandatory ? MANDATORY : 0) | more | length);
  view.setUint16(4, type);
  return concat(head, value);
}

/** A known AVP that is not one of the IETF for L2TPv3. */
export interface ForeignAttribute {
  readonly vendor: number;
  /** The attribute type. */
  readonly type: number;
  readonly name: string;
  /** True if the value is hidden, so it cannot be read. */
  readonly isHidden: boolean;
  readonly value: Octets;
}

export interface Decoded {
  /** The protocol version. An SCCRQ or SCCRP for both versions counts as L2TPv3. */
  readonly version: 2 | 3;
  readonly header: Header;
  /** Length of the message in octets; following octets do not belong to it. */
  readonly length: number;
  /** null: no AVP (ZLB), which only acknowledges. */
  readonly type: MessageType | "unknown" | null;
  readonly attributes: Attributes;
  /** Only displayed: values that are used are in `attributes`. */
  readonly foreign: readonly ForeignAttribute[];
  readonly flaws: readonly Flaw[];
  readonly digests: readonly DigestPlace[];
}

/** The reason why a datagram is not a control message and must be dropped. */
export interface Undecodable {
  readonly undecodable: string;
}

/** The reason for a message of L2TPv2. */
export const OF_VERSION_2 = "L2TPv2";

/** Decodes a message of L2TPv3. @param hiding null: hidden values cannot be read */
export function decodeMessage(
  octets: Octets,
  hiding: Omit<Hiding, "vector"> | null = null,
): Decoded | Undecodable {
  const message = decodeEither(octets, hiding);
  if ("undecodable" in message || message.version === 3) return message;
  return undecodable(OF_VERSION_2);
}

/**
 * Decodes a message of L2TPv3 or, for display, of L2TPv2. The connection ID of L2TPv2 is the tunnel ID and, in the
 * lower 16 bits, the session ID.
 * @param hiding null: hidden values cannot be read
 */
export function decodeEither(
  octets: Octets,
  hiding: Omit<Hiding, "vector"> | null = null,
): Decoded | Undecodable {
  if (octets.length < HEADER_BYTES) return undecodable(`only ${octets.length} octets`);
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const flags = view.getUint16(0);
  if ((flags & REQUIRED_FLAGS) !== REQUIRED_FLAGS) return undecodable("not a control message");
  const said = flags & VERSION_MASK;
  if (said !== 3 && said !== 2) return undecodable(`version ${said}`);
  const length = view.getUint16(2);
  if (length < HEADER_BYTES || length > octets.length) {
    return undecodable(`length ${length} of ${octets.length}`);
  }
  const header = {
    connectionId: view.getUint32(4),
    ns: view.getUint16(8),
    nr: view.getUint16(10),
  };
  const reader = new AvpReader(octets.subarray(0, length), hiding);
  const failure = reader.readAll();
  if (failure !== null) return undecodable(failure);
  const { type, attributes, foreign, flaws, digests } = reader;
  const version = said === 3 || reader.isForBothVersions ? 3 : 2;
  const found = version === 3 ? [...flaws, ...missing(type, attributes)] : flaws;
  return { version, header, length, type, attributes, foreign, flaws: found, digests };
}

const undecodable = (why: string): Undecodable => ({ undecodable: why });

function missing(type: Decoded["type"], attributes: Attributes): Flaw[] {
  if (type === null || type === "unknown") return [];
  return REQUIRED[type]
    .filter((key) => attributes[key] === undefined)
    .map((key) => flaw("missing", ATTRIBUTES[key].type, key, !isDispensable(type, key)));
}

function flaw(
  what: Flaw["what"],
  type: number,
  key: AttributeKey | undefined,
  isFatal: boolean,
  vendor = 0,
): Flaw {
  return { what, vendor, type, name: key === undefined ? null : ATTRIBUTES[key].name, isFatal };
}

interface Avp {
  readonly mandatory: boolean;
  readonly hidden: boolean;
  readonly vendor: number;
  readonly type: number;
  /** Offset of the value in the message. */
  readonly at: number;
  readonly value: Octets;
}

class AvpReader {
  type: Decoded["type"] = null;
  attributes: Attributes = {};
  readonly foreign: ForeignAttribute[] = [];
  readonly flaws: Flaw[] = [];
  readonly digests: DigestPlace[] = [];
  readonly #octets: Octets;
  readonly #view: DataView;
  readonly #hiding: Omit<Hiding, "vector"> | null;
  /** Value of the last Random Vector AVP. */
  #vector: Octets | null = null;
  /** Cisco's AVPs, which are evaluated after the IETF's. */
  readonly #cisco: CiscoAvp[] = [];
  /** AVP index at which a digest is permitted: after the message type and other digests. */
  #digestIndex = 1;
  #hasConnectionId = false;

  constructor(octets: Octets, hiding: Omit<Hiding, "vector"> | null) {
    this.#octets = octets;
    this.#view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    this.#hiding = hiding;
  }

  /** True if the sender supports L2TPv3, although the header has version 2 (RFC 3931, 4.7.3). */
  get isForBothVersions(): boolean {
    return this.#hasConnectionId && (this.type === "SCCRQ" || this.type === "SCCRP");
  }

  /** Reads all AVPs. Returns why the message cannot be decoded; null: it can. */
  readAll(): string | null {
    let at = HEADER_BYTES;
    for (let index = 0; at < this.#octets.length; index++) {
      const found = this.#next(at);
      if (typeof found === "string") return found;
      at = found.at + found.value.length;
      if (index > 0) this.#read(found, index);
      else if (!this.#readType(found)) return "no Message Type AVP at the start";
    }
    for (const avp of this.#cisco) this.#compare(avp);
    return null;
  }

  #next(at: number): Avp | string {
    const left = this.#octets.length - at;
    if (left < AVP_HEADER_BYTES) return `${left} octets after the last AVP`;
    const bits = this.#view.getUint16(at);
    const length = bits & LENGTH_MASK;
    if (length < AVP_HEADER_BYTES || length > left) return `an AVP of ${length} octets in ${left}`;
    return {
      mandatory: (bits & MANDATORY) !== 0,
      hidden: (bits & HIDDEN) !== 0,
      vendor: this.#view.getUint16(at + 2),
      type: this.#view.getUint16(at + 4),
      at: at + AVP_HEADER_BYTES,
      value: this.#octets.subarray(at + AVP_HEADER_BYTES, at + length),
    };
  }

  #readType({ vendor, type, value, hidden, mandatory }: Avp): boolean {
    if (vendor === CISCO && type === CISCO_ACK && !hidden) {
      this.type = "ACK";
      return true;
    }
    if (type !== TYPE_MESSAGE_TYPE || hidden || value.length !== 2) return false;
    const number = UINT16.decode(value) as number;
    this.type = (vendor === 0 ? messageTypeOf(number) : undefined) ?? "unknown";
    if (this.type === "unknown") {
      this.flaws.push({
        what: "unknown",
        vendor,
        type: TYPE_MESSAGE_TYPE,
        name: `Message Type ${number}`,
        isFatal: mandatory,
      });
    }
    return true;
  }

  #read(found: Avp, index: number): void {
    const avp = extended(found);
    const { mandatory, vendor, type } = avp;
    if (vendor === CISCO) return this.#readCisco(avp, index);
    if (vendor !== 0) {
      this.flaws.push(flaw("unknown", type, undefined, mandatory, vendor));
      return;
    }
    if (type === TYPE_DIGEST) return this.#readDigest(avp, index);
    if (type === TYPE_RANDOM_VECTOR) {
      this.#vector = avp.value;
      return;
    }
    if (type === TYPE_CONNECTION_ID) this.#hasConnectionId = true;
    const key = attributeOf(type);
    if (key !== undefined) return this.#readAttribute(key, avp);
    const name = version2Name(type);
    if (name === undefined) this.flaws.push(flaw("unknown", type, undefined, mandatory));
    // Its value and format are not checked.
    else this.#addForeign(name, avp);
  }

  #readAttribute(key: AttributeKey, avp: Avp): void {
    const decoded = this.#decode(key, avp);
    if (decoded === undefined) {
      const isFatal = avp.mandatory && !this.#canDoWithout(key, avp);
      this.flaws.push(flaw("malformed", avp.type, key, isFatal));
    }
    // The first AVP of a type is used, except in a list.
    else if (ATTRIBUTES[key].isStacked) {
      const before = (this.attributes[key] ?? []) as readonly unknown[];
      this.attributes = { ...this.attributes, [key]: [...before, ...(decoded as unknown[])] };
    } else if (this.attributes[key] === undefined) {
      this.attributes = { ...this.attributes, [key]: decoded };
    }
  }

  #readCisco(avp: Avp, index: number): void {
    const { type, mandatory } = avp;
    const known = ciscoAttributeOf(type);
    if (known === undefined) {
      this.flaws.push(flaw("unknown", type, undefined, mandatory, CISCO));
      return;
    }
    this.#addForeign(known.name, avp);
    if (type === CISCO_DIGEST && index === this.#digestIndex) this.#digestIndex++;
    if (type === TYPE_CISCO_CONNECTION_ID) this.#hasConnectionId = true;
    const { means } = known;
    if (means === null) return;
    // Cisco's Tie Breaker is for sessions only.
    if (means === "tieBreaker" && (this.type === "SCCRQ" || this.type === "SCCRP")) return;
    // Decoded now, because the preceding Random Vector AVP applies to it.
    this.#cisco.push({ ...known, means, avp, decoded: this.#decode(means, avp) });
  }

  /** Uses the IETF's AVP, or Cisco's if there is none. */
  #compare({ name, means, isBinding, avp, decoded }: CiscoAvp): void {
    const said = this.attributes[means];
    const { type, mandatory } = avp;
    if (decoded === undefined) {
      const isFatal =
        mandatory && said === undefined && isBinding && !this.#canDoWithout(means, avp);
      this.flaws.push({ what: "malformed", vendor: CISCO, type, name, isFatal });
    } else if (said === undefined) {
      this.attributes = { ...this.attributes, [means]: decoded };
    } else if (!sameValue(means, said, decoded)) {
      const isFatal = mandatory && isBinding;
      this.flaws.push({ what: "contradictory", vendor: CISCO, type, name, isFatal });
    }
  }

  #addForeign(name: string, { vendor, type, hidden, value }: Avp): void {
    this.foreign.push({ vendor, type, name, isHidden: hidden, value });
  }

  #decode(key: AttributeKey, avp: Avp): unknown {
    const clear = this.#clear(key, avp);
    return clear === undefined ? undefined : ATTRIBUTES[key].format.decode(clear);
  }

  /** Returns the clear value; undefined: it is hidden and cannot be read. */
  #clear(key: AttributeKey, { hidden, type, value }: Avp): Octets | undefined {
    if (!hidden) return value;
    if (!ATTRIBUTES[key].mayBeHidden || this.#hiding === null || this.#vector === null) {
      return undefined;
    }
    return unhide({ ...this.#hiding, vector: this.#vector }, type, value);
  }

  /** True if a malformed value can be ignored. */
  #canDoWithout(key: AttributeKey, avp: Avp): boolean {
    // A malformed cookie counts as none. An unreadable hidden cookie cannot be ignored: each frame would lack it.
    if (key === "assignedCookie") return this.#clear(key, avp) !== undefined;
    const { type } = this;
    return type !== null && type !== "unknown" && isDispensable(type, key);
  }

  /** Reads a digest. It is valid only directly after the message type or another digest. */
  #readDigest({ at, value, mandatory }: Avp, index: number): void {
    const hash = digestHashOf(value[0] ?? -1);
    const isRight = hash !== undefined && value.length === 1 + DIGEST_BYTES[hash];
    if (isRight && index === this.#digestIndex && this.digests.length < MAX_DIGESTS) {
      this.digests.push({ hash, at: at + 1 });
      this.#digestIndex++;
    } else {
      this.flaws.push({
        what: "malformed",
        vendor: 0,
        type: TYPE_DIGEST,
        name: "Message Digest",
        isFatal: mandatory,
      });
    }
  }
}

interface CiscoAvp extends CiscoAttribute {
  readonly means: AttributeKey;
  readonly avp: Avp;
  /** undefined: malformed, or hidden. */
  readonly decoded: unknown;
}

/** Returns the inner AVP of an Extended Vendor ID AVP, or the AVP itself. */
function extended(avp: Avp): Avp {
  const { vendor, type, value, hidden, at } = avp;
  if (vendor !== 0 || type !== TYPE_EXTENDED_VENDOR) return avp;
  if (hidden || value.length < EXTENDED_VENDOR_BYTES) return avp;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  // The IETF's AVPs never use this form.
  if (view.getUint32(0) === 0) return avp;
  return {
    ...avp,
    vendor: view.getUint32(0),
    type: view.getUint16(4),
    at: at + EXTENDED_VENDOR_BYTES,
    value: value.subarray(EXTENDED_VENDOR_BYTES),
  };
}

function sameValue(key: AttributeKey, one: unknown, other: unknown): boolean {
  const { encode } = (ATTRIBUTES[key] as Attribute<unknown>).format;
  return toHex(encode(one)) === toHex(encode(other));
}

const MAX_DIGESTS = 2;
