/**
 * The L2TPv3 data message (RFC 3931 §4.1) at an offset of a shared buffer, without allocation.
 *
 *     over UDP:  T=0 … Ver=3 (2) | reserved (2) | session id (4) | cookie (0, 4, 8) | sublayer (0, 4) | frame
 *     over IP:                                    session id (4) | cookie (0, 4, 8) | sublayer (0, 4) | frame
 *
 * A receiver knows the lengths of cookie and sublayer only from the session, so decoding takes two
 * steps: `decodeSessionId`, a look-up by the caller, `decodeSessionHeader`.
 */
import { L2TP_UDP_PREFIX_BYTES, SESSION_ID_BYTES, SUBLAYER_BYTES } from "../net/headers.ts";
import { nextSequence, SEQUENCE_MASK } from "./sequence.ts";

/** Over UDP: version 3, T (control) bit clear, all reserved bits clear. */
const UDP_DATA_WORD = 0x0003_0000;
const CONTROL_BIT = 0x8000_0000;
const VERSION_MASK = 0x000f_0000;
/** S bit of the default sublayer (RFC 3931 §4.6): the sequence number counts. */
const SEQUENCE_PRESENT = 0x4000_0000;

const MAX_COOKIE_BYTES = 8;

/** The longest header of a frame: UDP word, session ID, cookie of 8 bytes, sublayer. */
export const MAX_HEADER_BYTES =
  L2TP_UDP_PREFIX_BYTES + SESSION_ID_BYTES + MAX_COOKIE_BYTES + SUBLAYER_BYTES;

/** The L2-Specific Sublayer: the default one of RFC 3931, section 4.6, or none. */
export type L2SpecificSublayer = "Default" | "None";

/** The sender's settings of a session. */
export interface SessionTx {
  readonly overUdp: boolean;
  /** The peer's session ID. */
  readonly sessionId: number;
  readonly cookieBytes: number;
  /** First and second four bytes of the cookie, big-endian. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly sublayer: boolean;
  readonly sequencing: boolean;
  /** The number of the next frame, with `sequencing`; the encoder increments it. */
  sequence: number;
}

/** The receiver's settings of a session. */
export interface SessionRx {
  readonly cookieBytes: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly sublayer: boolean;
}

/** Returns the bytes that {@link encodeDataHeader} writes for the session. */
export function dataHeaderBytes(
  tx: Pick<SessionTx, "overUdp" | "cookieBytes" | "sublayer">,
): number {
  return (
    (tx.overUdp ? L2TP_UDP_PREFIX_BYTES : 0) +
    SESSION_ID_BYTES +
    tx.cookieBytes +
    (tx.sublayer ? SUBLAYER_BYTES : 0)
  );
}

/** Writes the header at `offset`, and increments the sequence number. Returns the bytes written. */
export function encodeDataHeader(view: DataView, offset: number, tx: SessionTx): number {
  let at = offset;
  if (tx.overUdp) {
    view.setUint32(at, UDP_DATA_WORD);
    at += 4;
  }
  view.setUint32(at, tx.sessionId);
  at += 4;
  if (tx.cookieBytes > 0) {
    view.setUint32(at, tx.cookieHigh);
    at += 4;
    if (tx.cookieBytes > 4) {
      view.setUint32(at, tx.cookieLow);
      at += 4;
    }
  }
  if (tx.sublayer) {
    if (tx.sequencing) {
      view.setUint32(at, SEQUENCE_PRESENT | tx.sequence);
      tx.sequence = nextSequence(tx.sequence);
    } else {
      view.setUint32(at, 0);
    }
    at += 4;
  }
  return at - offset;
}

/** The result of decoding a message, or of its first step. */
export const DecodeStatus = {
  Ok: 0,
  /** Ends before the header does. */
  Short: 1,
  /** Over UDP: a data message whose version is not 3. */
  WrongVersion: 2,
  /** A control message: the T bit over UDP, session id 0 over IP. */
  Control: 3,
  BadCookie: 4,
} as const;
export type DecodeStatus = (typeof DecodeStatus)[keyof typeof DecodeStatus];

/** Receives the decoder's results. One object is reused for all messages. */
export interface HeaderOut {
  /** The session id, as an unsigned number. */
  sessionId: number;
  /** Offset of the next part of the message; after the second step: of the frame. */
  next: number;
  /** The 24-bit sequence number; −1: none. */
  sequence: number;
}

/** Returns the object that the decoders fill, so that the packet path allocates nothing. */
export function createHeaderOut(): HeaderOut {
  return { sessionId: 0, next: 0, sequence: -1 };
}

/** First step: sets `out.sessionId` and `out.next`. `end` is the offset after the message. */
export function decodeSessionId(
  view: DataView,
  offset: number,
  end: number,
  overUdp: boolean,
  out: HeaderOut,
): DecodeStatus {
  let at = offset;
  if (overUdp) {
    if (end - at < 4) return DecodeStatus.Short;
    const word = view.getUint32(at);
    // Checked before the version, because an SCCRQ can be for both versions of L2TP.
    if ((word & CONTROL_BIT) !== 0) return DecodeStatus.Control;
    if ((word & VERSION_MASK) !== UDP_DATA_WORD) return DecodeStatus.WrongVersion;
    at += 4;
  }
  if (end - at < 4) return DecodeStatus.Short;
  out.sessionId = view.getUint32(at);
  out.next = at + 4;
  if (!overUdp && out.sessionId === 0) return DecodeStatus.Control;
  return DecodeStatus.Ok;
}

/** Second step, from `out.next` on: checks the cookie, sets `out.sequence` and `out.next`. */
export function decodeSessionHeader(
  view: DataView,
  end: number,
  rx: SessionRx,
  out: HeaderOut,
): DecodeStatus {
  let at = out.next;
  if (end - at < rx.cookieBytes + (rx.sublayer ? SUBLAYER_BYTES : 0)) return DecodeStatus.Short;
  if (rx.cookieBytes > 0) {
    if (view.getUint32(at) !== rx.cookieHigh) return DecodeStatus.BadCookie;
    if (rx.cookieBytes > 4 && view.getUint32(at + 4) !== rx.cookieLow) {
      return DecodeStatus.BadCookie;
    }
    at += rx.cookieBytes;
  }
  out.sequence = -1;
  if (rx.sublayer) {
    const word = view.getUint32(at);
    if ((word & SEQUENCE_PRESENT) !== 0) out.sequence = word & SEQUENCE_MASK;
    at += 4;
  }
  out.next = at;
  return DecodeStatus.Ok;
}

/** Returns a cookie's hexadecimal text ("", 8 or 16 digits) as the words that the codec compares. */
export function cookieWords(hex: string): {
  cookieBytes: number;
  cookieHigh: number;
  cookieLow: number;
} {
  return {
    cookieBytes: hex.length / 2,
    cookieHigh: Number.parseInt(hex.slice(0, 8) || "0", 16),
    cookieLow: Number.parseInt(hex.slice(8, 16) || "0", 16),
  };
}
