/** Describes a captured L2TPv3 datagram (RFC 3931, section 4.1). Pure, and not for the packet path. */
import { SUBLAYER_BYTES } from "../net/headers.ts";
import { createHeaderOut, DecodeStatus, decodeSessionId } from "./codec.ts";
import { SEQUENCE_MASK } from "./sequence.ts";

/** S bit of the default sublayer (RFC 3931, section 4.6). */
const SEQUENCE_PRESENT = 0x4000_0000;

/** The session's header after the session ID, which the octets do not show. */
export interface DataLayout {
  readonly cookieBytes: number;
  readonly hasSublayer: boolean;
}

export interface DataHeader {
  readonly kind: "data";
  readonly sessionId: number;
  /** Hexadecimal digits; "" without a cookie. */
  readonly cookie: string;
  /** The 32 bits of the sublayer; null: the session has none. */
  readonly sublayer: number | null;
  /** The 24-bit sequence number; null: the S bit is not set, or there is no sublayer. */
  readonly sequence: number | null;
  /** The offset of the frame. */
  readonly frameAt: number;
}

/** "short": the datagram or its capture ends inside the header. */
export type DescribedDatagram =
  | DataHeader
  | { readonly kind: "control" }
  | { readonly kind: "other version" }
  | { readonly kind: "short"; readonly sessionId: number | null };

/**
 * @param octets the payload of UDP, or of IP
 * @param layoutOf returns the session's header; null: unknown, treated as without cookie and sublayer
 */
export function describeDatagram(
  octets: Uint8Array,
  overUdp: boolean,
  layoutOf: (sessionId: number) => DataLayout | null,
): DescribedDatagram {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const out = createHeaderOut();
  switch (decodeSessionId(view, 0, octets.length, overUdp, out)) {
    case DecodeStatus.Control:
      return { kind: "control" };
    case DecodeStatus.WrongVersion:
      return { kind: "other version" };
    case DecodeStatus.Ok:
      break;
    default:
      return { kind: "short", sessionId: null };
  }
  const { sessionId, next } = out;
  const { cookieBytes, hasSublayer } = layoutOf(sessionId) ?? {
    cookieBytes: 0,
    hasSublayer: false,
  };
  const sublayerAt = next + cookieBytes;
  const frameAt = sublayerAt + (hasSublayer ? SUBLAYER_BYTES : 0);
  if (frameAt > octets.length) return { kind: "short", sessionId };
  const sublayer = hasSublayer ? view.getUint32(sublayerAt) : null;
  const isNumbered = sublayer !== null && (sublayer & SEQUENCE_PRESENT) !== 0;
  return {
    kind: "data",
    sessionId,
    cookie: Buffer.from(octets.subarray(next, sublayerAt)).toString("hex"),
    sublayer,
    sequence: isNumbered ? sublayer & SEQUENCE_MASK : null,
    frameAt,
  };
}
