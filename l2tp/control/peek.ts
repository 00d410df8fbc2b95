/**
 * Reads the fields of a control message that decide whether it is decoded. Works at an offset of a shared buffer,
 * without allocation. The fields are not authenticated.
 */
import { CISCO, CISCO_ACK } from "./foreign-attributes.ts";
import { HEADER_BYTES } from "./message.ts";
import { MESSAGE_TYPES } from "./message-type.ts";

/** T, L and S bits. */
const REQUIRED_FLAGS = 0xc800;
const AVP_HEADER_BYTES = 6;
const LENGTH_MASK = 0x03ff;
/** H bit, and the AVP's length. */
const HIDDEN_AND_LENGTH = 0x43ff;
const TYPE_AVP_BYTES = 8;
/** Vendor and attribute type. */
const CISCO_ACK_KIND = CISCO * 0x1_0000 + CISCO_ACK;
const TYPE_HOST_NAME = 7;
const TYPE_ROUTER_ID = 60;
/** Messages of an end differ within this prefix. */
const MAX_HASHED_BYTES = 256;
/** The FNV offset as a signed number, which V8 stores unboxed. */
const FNV_OFFSET = 0x811c_9dc5 | 0;
const FNV_PRIME = 0x0100_0193;

/** True if the header is that of a control message. @param end the offset after the message */
export function hasHeader(view: DataView, at: number, end: number): boolean {
  if (end - at < HEADER_BYTES) return false;
  if ((view.getUint16(at) & REQUIRED_FLAGS) !== REQUIRED_FLAGS) return false;
  const length = view.getUint16(at + 2);
  return length >= HEADER_BYTES && length <= end - at;
}

/** Returns the ID as a signed number, which V8 stores unboxed. */
export function connectionIdOf(view: DataView, at: number): number {
  return view.getInt32(at + 4);
}

/** Returns Ns of the message that begins at `at`. */
export function nsOf(view: DataView, at: number): number {
  return view.getUint16(at + 8);
}

/** Returns Nr of the message that begins at `at`. */
export function nrOf(view: DataView, at: number): number {
  return view.getUint16(at + 10);
}

/** True if the message is an SCCRQ. */
export function isRequest(view: DataView, at: number): boolean {
  return typeOf(view, at) === MESSAGE_TYPES.SCCRQ;
}

/** True if the message has no number of its own: an ACK, or a message without an AVP (ZLB). */
export function isAcknowledgement(view: DataView, at: number): boolean {
  return view.getUint16(at + 2) === HEADER_BYTES || typeOf(view, at) === MESSAGE_TYPES.ACK;
}

/** Returns the message type; −1: the message does not start with one. */
function typeOf(view: DataView, at: number): number {
  if (view.getUint16(at + 2) < HEADER_BYTES + TYPE_AVP_BYTES) return -1;
  const avp = at + HEADER_BYTES;
  if ((view.getUint16(avp) & HIDDEN_AND_LENGTH) !== TYPE_AVP_BYTES) return -1;
  const kind = view.getUint32(avp + 2);
  if (kind === CISCO_ACK_KIND) return MESSAGE_TYPES.ACK;
  // The vendor, and the attribute type: both 0.
  return kind === 0 ? view.getUint16(avp + 6) : -1;
}

/** Returns a hash of the message's prefix. */
export function contentOf(view: DataView, at: number, seed: number): number {
  const length = Math.min(view.getUint16(at + 2), MAX_HASHED_BYTES);
  return hash(view, at, at + length, FNV_OFFSET ^ seed);
}

/**
 * Returns a hash of Host Name and Router ID, which an end sends in each SCCRQ and SCCRP. 0: none.
 */
export function introductionOf(view: DataView, at: number): number {
  const end = at + view.getUint16(at + 2);
  let hashed = 0;
  for (let avp = at + HEADER_BYTES; end - avp >= AVP_HEADER_BYTES; ) {
    const length = view.getUint16(avp) & LENGTH_MASK;
    if (length < AVP_HEADER_BYTES || length > end - avp) return 0;
    const type = view.getUint32(avp + 2);
    if (type === TYPE_HOST_NAME || type === TYPE_ROUTER_ID) {
      // The order of the AVPs does not matter.
      hashed ^= hash(view, avp + 2, avp + length, FNV_OFFSET);
    }
    avp += length;
  }
  return hashed;
}

/** FNV-1a, with the bits mixed at the end. */
function hash(view: DataView, from: number, to: number, start: number): number {
  let value = start;
  for (let at = from; at < to; at++) {
    value = Math.imul(value ^ view.getUint8(at), FNV_PRIME);
  }
  return Math.imul(value ^ (value >>> 15), 0x2c1b_3c6d) | 0;
}
