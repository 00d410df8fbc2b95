/** Locates the headers of a frame with a TCP segment or UDP datagram: an Ethernet frame, or a bare IP datagram. */

import {
  ETHERTYPE,
  ETHERTYPE_OFFSET,
  IPV4_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  MIN_TCP_HEADER_BYTES,
  UDP_HEADER_BYTES,
  VLAN_TAG_BYTES,
} from "../../../net/headers.ts";

/** Two tags of the pod, and one of the session. */
const MAX_VLAN_TAGS = 3;
/** The "more fragments" flag and the fragment offset, without "don't fragment". */
const FRAGMENT_BITS = 0x3fff;

export const Protocol = { Tcp: 6, Udp: 17 } as const;

/** The largest prefix that a caller may have in front of a frame that is segmented or joined. */
export const MAX_PREFIX_BYTES = 32;

/** Offsets of fields in their headers. */
export const IPV4 = {
  length: 2,
  id: 4,
  fragment: 6,
  protocol: 9,
  checksum: 10,
  addresses: 12,
} as const;
export const IPV6 = { length: 4, nextHeader: 6, addresses: 8 } as const;
export const TCP = {
  sequence: 4,
  acknowledgement: 8,
  offset: 12,
  flags: 13,
  checksum: 16,
} as const;
export const UDP = { length: 4, checksum: 6 } as const;

/** Addresses in memory. One object is created at start and reused for every frame. */
export interface FrameShape {
  at: number;
  /** Address of the IP header. */
  ip: number;
  isIpv4: boolean;
  /** TCP or UDP. */
  protocol: number;
  /** Address of the TCP or UDP header. */
  transport: number;
  payload: number;
  end: number;
}

/** Returns a shape to be filled by the parser, so that the packet path allocates nothing. */
export function createFrameShape(): FrameShape {
  return { at: 0, ip: 0, isIpv4: true, protocol: 0, transport: 0, payload: 0, end: 0 };
}

/**
 * Finds the frame's IP header, after its VLAN tags.
 * @param isBare true: the frame is an IP datagram
 * @returns its address; 0: there is no whole IP header
 */
export function findIp(view: DataView, at: number, end: number, isBare: boolean): number {
  if (!isBare) return findIpInEthernet(view, at, end);
  return isDatagram(view, at, end) ? at : 0;
}

function findIpInEthernet(view: DataView, at: number, end: number): number {
  let type = at + ETHERTYPE_OFFSET;
  for (let tags = 0; ; tags++) {
    if (type + 2 > end) return 0;
    const value = view.getUint16(type);
    const ip = type + 2;
    if (value === ETHERTYPE.ipv4) return ip + IPV4_HEADER_BYTES > end ? 0 : ip;
    if (value === ETHERTYPE.ipv6) return ip + IPV6_HEADER_BYTES > end ? 0 : ip;
    if (value !== ETHERTYPE.vlan && value !== ETHERTYPE.serviceVlan) return 0;
    if (tags === MAX_VLAN_TAGS) return 0;
    type += VLAN_TAG_BYTES;
  }
}

/** True for an IPv4 or IPv6 datagram with a whole header; IPv4 options are not checked. */
export function isDatagram(view: DataView, at: number, end: number): boolean {
  const bytes = end - at;
  if (bytes < IPV4_HEADER_BYTES) return false;
  const version = ipVersionAt(view, at);
  // A sublayer with a sequence number also begins with 4, but then has a header length of 0.
  if (version === 4) return (view.getUint8(at) & 0x0f) * 4 >= IPV4_HEADER_BYTES;
  return version === 6 && bytes >= IPV6_HEADER_BYTES;
}

/** Returns the IP version field: 4 or 6 in a valid datagram. */
export const ipVersionAt = (view: DataView, ip: number): number => view.getUint8(ip) >> 4;

/**
 * Finds a whole TCP segment or UDP datagram that fills its frame to the end: no fragment, no extension header, no
 * padding.
 * @param isBare true: the frame is an IP datagram
 * @returns true if the frame has one; otherwise `out` is invalid
 */
export function findTransport(
  view: DataView,
  at: number,
  end: number,
  isBare: boolean,
  out: FrameShape,
): boolean {
  const ip = findIp(view, at, end, isBare);
  if (ip === 0) return false;
  out.at = at;
  out.ip = ip;
  out.end = end;
  const version = ipVersionAt(view, ip);
  out.isIpv4 = version === 4;
  if (version === 4) {
    const headerBytes = (view.getUint8(ip) & 0x0f) * 4;
    if (headerBytes < IPV4_HEADER_BYTES) return false;
    if (view.getUint16(ip + IPV4.length) !== end - ip) return false;
    if ((view.getUint16(ip + IPV4.fragment) & FRAGMENT_BITS) !== 0) return false;
    out.protocol = view.getUint8(ip + IPV4.protocol);
    out.transport = ip + headerBytes;
  } else {
    if (version !== 6) return false;
    if (view.getUint16(ip + IPV6.length) !== end - ip - IPV6_HEADER_BYTES) return false;
    out.protocol = view.getUint8(ip + IPV6.nextHeader);
    out.transport = ip + IPV6_HEADER_BYTES;
  }
  return findPayload(view, out);
}

function findPayload(view: DataView, shape: FrameShape): boolean {
  const { protocol, transport, end } = shape;
  if (protocol === Protocol.Udp) {
    if (transport + UDP_HEADER_BYTES > end) return false;
    shape.payload = transport + UDP_HEADER_BYTES;
    return view.getUint16(transport + UDP.length) === end - transport;
  }
  if (protocol !== Protocol.Tcp || transport + MIN_TCP_HEADER_BYTES > end) return false;
  const headerBytes = tcpHeaderBytes(view, transport);
  shape.payload = transport + headerBytes;
  return headerBytes >= MIN_TCP_HEADER_BYTES && shape.payload <= end;
}

/** Returns the bytes of a TCP header, with options. */
export function tcpHeaderBytes(view: DataView, transport: number): number {
  return (view.getUint8(transport + TCP.offset) >> 4) * 4;
}
