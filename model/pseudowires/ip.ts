/**
 * IPv4 and IPv6 datagrams, distinguished by their first four bits (draft-ietf-l2tpext-pwe3-ip-00, expired). They have
 * no link-layer header, ARP, or neighbor discovery by MAC addresses. IANA has not assigned the number, but Cisco
 * (`interworking ip`) and Linux (L2TP_PWTYPE_IP in include/uapi/linux/l2tp.h) use it.
 */
import { IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, SUBLAYER_BYTES } from "../../net/headers.ts";
import { type PseudowireType, TUN } from "./pseudowire.ts";

export const ip = {
  name: "IP",
  number: 11,
  device: TUN,
  wireHeaderBytes: 0,
  minFrameBytes: IPV4_HEADER_BYTES,
  // net/l2tp/l2tp_netlink.c has no operations for the type.
  kernel: { whyNot: "the kernel's L2TP has no IP pseudowires (EPROTONOSUPPORT)" },
  hasOffloads: true,
  hasFastPath: false,
  looksMisaligned,
} as const satisfies PseudowireType;

/** True if the datagram looks shifted by a sublayer that only one end uses: its length fits only after a shift. */
function looksMisaligned(
  view: DataView,
  at: number,
  bytes: number,
  expectsSublayer: boolean,
): boolean {
  const end = at + bytes;
  if (fillsTo(view, at, end)) return false;
  // The session's header is in front of the expected datagram.
  if (expectsSublayer) return fillsTo(view, at - SUBLAYER_BYTES, end);
  // All bits of a sublayer are clear except S and the sequence number.
  return (view.getUint8(at) & 0xbf) === 0 && fillsTo(view, at + SUBLAYER_BYTES, end);
}

/** True if a datagram begins at `at`, and its length field ends it at `end`. */
function fillsTo(view: DataView, at: number, end: number): boolean {
  if (end - at < IPV4_HEADER_BYTES) return false;
  const first = view.getUint8(at);
  const bytes = end - at;
  if (first >> 4 === 4) return (first & 0x0f) >= 5 && view.getUint16(at + 2) === bytes;
  return first >> 4 === 6 && view.getUint16(at + 4) + IPV6_HEADER_BYTES === bytes;
}
