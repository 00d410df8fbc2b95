/** How much of the underlay's MTU a pseudowire leaves to the frames in it. */
import type { Session, Tunnel } from "./model.ts";

export interface EncapsulationShape {
  readonly family: 4 | 6;
  readonly encapsulation: "UDP" | "IP";
  readonly l2SpecificSublayer: "Default" | "None";
  /** Bytes of the cookie that we transmit: 0, 4 or 8. */
  readonly txCookieBytes: number;
}

const IP_HEADER_BYTES = { 4: 20, 6: 40 } as const;
/** UDP (RFC 768) and the first word of the L2TPv3 session header over UDP (RFC 3931 §4.1.2.1). */
const UDP_ENCAPSULATION_BYTES = 8 + 4;
const SESSION_ID_BYTES = 4;
const SUBLAYER_BYTES = 4;
const ETHERNET_HEADER_BYTES = 14;
const VLAN_TAG_BYTES = 4;

/** Bytes in front of the Ethernet frame, from the outer IP header on. */
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
 * The largest MTU of the pseudowire's device whose frames fit the underlay unfragmented.
 * Without tags it is what the kernel gives an l2tpeth device (net/l2tp/l2tp_eth.c).
 * @param vlanTags 802.1Q tags inside the pseudowire that its MTU must leave room for
 */
export function pseudowireMtu(
  underlayMtu: number,
  shape: EncapsulationShape,
  vlanTags = 0,
): number {
  return (
    underlayMtu - encapsulationBytes(shape) - ETHERNET_HEADER_BYTES - vlanTags * VLAN_TAG_BYTES
  );
}

/** The MTU that the path of the tunnel leaves to the session. */
export function sessionMtu(
  underlayMtu: number,
  { remote, encapsulation }: Pick<Tunnel, "remote" | "encapsulation">,
  { l2SpecificSublayer, txCookie }: Pick<Session, "l2SpecificSublayer" | "txCookie">,
): number {
  const family = remote.address.includes(":") ? 6 : 4;
  const txCookieBytes = txCookie.length / 2;
  const shape = { family, encapsulation, l2SpecificSublayer, txCookieBytes } as const;
  return pseudowireMtu(underlayMtu, shape);
}
