/** Computes the MTU of a pseudowire from the MTU of the underlay. */

import {
  IP_HEADER_BYTES,
  L2TP_UDP_PREFIX_BYTES,
  SESSION_ID_BYTES,
  SUBLAYER_BYTES,
  UDP_HEADER_BYTES,
  VLAN_TAG_BYTES,
} from "../net/headers.ts";
import type { Session, Tunnel } from "./model.ts";
import { DEFAULT_PSEUDOWIRE, pseudowireOf } from "./pseudowires/index.ts";

export interface EncapsulationShape {
  readonly family: 4 | 6;
  readonly encapsulation: "UDP" | "IP";
  readonly l2SpecificSublayer: "Default" | "None";
  /** Bytes of the transmitted cookie: 0, 4 or 8. */
  readonly txCookieBytes: number;
}

const UDP_ENCAPSULATION_BYTES = UDP_HEADER_BYTES + L2TP_UDP_PREFIX_BYTES;

/** Returns the bytes in front of the pseudowire's frame, starting with the outer IP header. */
export function encapsulationBytes(shape: EncapsulationShape): number {
  return (
    IP_HEADER_BYTES[shape.family] +
    (shape.encapsulation === "UDP" ? UDP_ENCAPSULATION_BYTES : 0) +
    SESSION_ID_BYTES +
    shape.txCookieBytes +
    (shape.l2SpecificSublayer === "Default" ? SUBLAYER_BYTES : 0)
  );
}

/**
 * Returns the largest MTU of the pseudowire's device whose frames fit the underlay unfragmented. For Ethernet without
 * tags it equals the kernel's MTU of an l2tpeth device (net/l2tp/l2tp_eth.c).
 * @param vlanTags number of 802.1Q tags inside the pseudowire that the MTU must leave room for
 * @param wireHeaderBytes bytes of each frame that the MTU does not count, by pseudowire type
 */
export function pseudowireMtu(
  underlayMtu: number,
  shape: EncapsulationShape,
  vlanTags = 0,
  wireHeaderBytes = DEFAULT_PSEUDOWIRE.wireHeaderBytes,
): number {
  return underlayMtu - encapsulationBytes(shape) - wireHeaderBytes - vlanTags * VLAN_TAG_BYTES;
}

/** Returns the MTU that the tunnel's path leaves to the session. @throws UnknownPseudowireError */
export function sessionMtu(
  underlayMtu: number,
  { remote, encapsulation }: Pick<Tunnel, "remote" | "encapsulation">,
  session: Pick<Session, "l2SpecificSublayer" | "txCookie" | "pseudowireType">,
): number {
  const family = remote.address.includes(":") ? 6 : 4;
  const { l2SpecificSublayer } = session;
  const txCookieBytes = session.txCookie.length / 2;
  const shape = { family, encapsulation, l2SpecificSublayer, txCookieBytes } as const;
  return pseudowireMtu(underlayMtu, shape, 0, pseudowireOf(session).wireHeaderBytes);
}
