/** The layout of the map entries that programs.ts reads. */
import { encodeDataHeader, type SessionRx, type SessionTx } from "../../../l2tp/codec.ts";
import type { Endpoint } from "../../../model/model.ts";
import {
  ETHERNET_HEADER_BYTES,
  IP_HEADER_BYTES,
  L2TP_UDP_PREFIX_BYTES,
  SESSION_ID_BYTES,
  SUBLAYER_BYTES,
  UDP_HEADER_BYTES,
} from "../../../net/headers.ts";
import { parseAddress } from "../../../net/ip.ts";

/** The key is the index of the node's device that receives the frame. */
export const ENCAP = {
  bytes: 120,
  keyBytes: 4,
  /** The index of the device for frames that are not encapsulated. */
  other: 0,
  /** The index of the underlay's device; 0: nothing is encapsulated. */
  egress: 4,
  /** The session's slot of counters. */
  slot: 8,
  /** The largest frame, in bytes, that the underlay and the session allow. */
  maxFrame: 12,
  /** Bytes of the IP, UDP and L2TP headers. */
  headerBytes: 16,
  /** The sum of the IPv4 header's words in host byte order, without length and identification. */
  ipSum: 20,
  /** The flags for bpf_skb_adjust_room. */
  growFlags: 24,
  /**
   * The Ethernet, IP, UDP and L2TP headers. The kernel fills in the Ethernet header, which is zero here:
   * bpf_redirect_neigh drops packets with a multicast address, which the frame's own header may have.
   */
  header: 32,
  headerCapacity: 88,
} as const;

/** The key: a datagram's destination, source and session ID. */
export const DECAP_KEY = {
  bytes: 48,
  local: 0,
  remote: 16,
  localPort: 32,
  remotePort: 34,
  sessionId: 36,
  family: 40,
} as const;

export const DECAP = {
  bytes: 32,
  /** The index of the veth whose peer receives the frames. */
  device: 0,
  slot: 4,
  cookieBytes: 8,
  maxFrame: 12,
  cookie: 16,
  /** Bytes in front of the frame's payload: IP, UDP, L2TP and the frame's Ethernet header. */
  strip: 24,
} as const;

/** Offsets in words of 64 bits. */
export const COUNTERS = {
  bytes: 40,
  txPackets: 0,
  txBytes: 1,
  rxPackets: 2,
  rxBytes: 3,
  /** The time of the last received frame, in nanoseconds of the monotonic clock. */
  lastReceived: 4,
} as const;

const ADJ_ROOM = { fixedGso: 1n, encapIpv4: 2n, encapIpv6: 4n, encapUdp: 16n, ethernet: 64n };
const ENCAP_L2_SHIFT = 56n;
const HOP_LIMIT = 64;
const PROTOCOL_UDP = 17;
const SESSION_HEADER_BYTES = L2TP_UDP_PREFIX_BYTES + SESSION_ID_BYTES;

export type IpFamily = 4 | 6;
export const familyOf = ({ address }: Endpoint): IpFamily => (address.includes(":") ? 6 : 4);

/** Returns the IP, UDP and L2TP headers in front of a frame. */
export function encapsulationHeader(
  local: Endpoint,
  remote: Endpoint,
  tx: SessionTx,
  trafficClass = 0,
): Uint8Array {
  const family = familyOf(remote);
  const ipBytes = IP_HEADER_BYTES[family];
  const all = new Uint8Array(ENCAP.headerCapacity - ETHERNET_HEADER_BYTES);
  const view = new DataView(all.buffer);
  if (family === 4) {
    view.setUint8(0, 0x45);
    view.setUint8(1, trafficClass);
    view.setUint8(8, HOP_LIMIT);
    view.setUint8(9, PROTOCOL_UDP);
  } else {
    view.setUint16(0, 0x6000 | (trafficClass << 4));
    view.setUint8(6, PROTOCOL_UDP);
    view.setUint8(7, HOP_LIMIT);
  }
  const source = family === 4 ? 12 : 8;
  all.set(requireAddress(local), source);
  all.set(requireAddress(remote), source + (family === 4 ? 4 : 16));
  view.setUint16(ipBytes, local.port);
  view.setUint16(ipBytes + 2, remote.port);
  const l2tp = ipBytes + UDP_HEADER_BYTES;
  return all.subarray(0, l2tp + encodeDataHeader(view, l2tp, tx));
}

export interface EncapEntry {
  readonly other: number;
  readonly egress: number;
  readonly slot: number;
  readonly maxFrame: number;
  readonly header: Uint8Array;
}

/** Encodes an entry of the `encap` map. */
export function encodeEncap(entry: EncapEntry): Uint8Array {
  const { header } = entry;
  const bytes = new Uint8Array(ENCAP.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(ENCAP.other, entry.other, true);
  view.setUint32(ENCAP.egress, entry.egress, true);
  view.setUint32(ENCAP.slot, entry.slot, true);
  view.setUint32(ENCAP.maxFrame, entry.maxFrame, true);
  view.setUint32(ENCAP.headerBytes, header.length, true);
  const ip = ENCAP.header + ETHERNET_HEADER_BYTES;
  bytes.set(header, ip);
  const isIpv4 = header[0] === 0x45;
  let sum = 0;
  for (let at = 0; at < IP_HEADER_BYTES[4]; at += 2) {
    sum += view.getUint16(ip + at, true);
  }
  view.setUint32(ENCAP.ipSum, isIpv4 ? sum : 0, true);
  const flags =
    ADJ_ROOM.fixedGso |
    ADJ_ROOM.encapUdp |
    ADJ_ROOM.ethernet |
    (isIpv4 ? ADJ_ROOM.encapIpv4 : ADJ_ROOM.encapIpv6) |
    (BigInt(ETHERNET_HEADER_BYTES) << ENCAP_L2_SHIFT);
  view.setBigUint64(ENCAP.growFlags, flags, true);
  return bytes;
}

/** Returns an entry that passes a device's frames on to another device without encapsulation. */
export const passOn = (other: number): Uint8Array =>
  encodeEncap({ other, egress: 0, slot: 0, maxFrame: 0, header: new Uint8Array(0) });

/** Encodes a key of the `encap` map. */
export function encapKey(ifindex: number): Uint8Array {
  const bytes = new Uint8Array(ENCAP.keyBytes);
  new DataView(bytes.buffer).setUint32(0, ifindex, true);
  return bytes;
}

/** Encodes a key of the `decap` map. @throws TypeError if an address is not an IP address */
export function decapKey(local: Endpoint, remote: Endpoint, sessionId: number): Uint8Array {
  const bytes = new Uint8Array(DECAP_KEY.bytes);
  const view = new DataView(bytes.buffer);
  bytes.set(requireAddress(local), DECAP_KEY.local);
  bytes.set(requireAddress(remote), DECAP_KEY.remote);
  view.setUint16(DECAP_KEY.localPort, local.port);
  view.setUint16(DECAP_KEY.remotePort, remote.port);
  view.setUint32(DECAP_KEY.sessionId, sessionId);
  view.setUint32(DECAP_KEY.family, familyOf(remote), true);
  return bytes;
}

export interface DecapEntry {
  readonly device: number;
  readonly slot: number;
  readonly maxFrame: number;
  readonly family: IpFamily;
  readonly rx: SessionRx;
}

/** Encodes an entry of the `decap` map. */
export function encodeDecap({ device, slot, maxFrame, family, rx }: DecapEntry): Uint8Array {
  const bytes = new Uint8Array(DECAP.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(DECAP.device, device, true);
  view.setUint32(DECAP.slot, slot, true);
  view.setUint32(DECAP.cookieBytes, rx.cookieBytes, true);
  view.setUint32(DECAP.maxFrame, maxFrame, true);
  // In network byte order. The missing bytes of a short cookie are 0 on both sides of the comparison.
  if (rx.cookieBytes > 0) view.setUint32(DECAP.cookie, rx.cookieHigh);
  if (rx.cookieBytes > 4) view.setUint32(DECAP.cookie + 4, rx.cookieLow);
  const headers = IP_HEADER_BYTES[family] + UDP_HEADER_BYTES + SESSION_HEADER_BYTES;
  const rest = rx.cookieBytes + (rx.sublayer ? SUBLAYER_BYTES : 0) + ETHERNET_HEADER_BYTES;
  view.setUint32(DECAP.strip, headers + rest, true);
  return bytes;
}

function requireAddress({ address }: Endpoint): Uint8Array {
  const bytes = parseAddress(address);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(address)} is not an IP address`);
  return bytes;
}
