/** Parses the headers of a captured IP packet: RFC 791, RFC 8200, RFC 768. */
import { IPV6_HEADER_BYTES, UDP_HEADER_BYTES } from "./headers.ts";
import { formatAddress } from "./ip.ts";

/** Protocol numbers of IANA. */
export const IP_PROTOCOL = { icmp: 1, udp: 17, fragment: 44, icmp6: 58, l2tp: 115 } as const;

const FRAGMENT_HEADER_BYTES = 8;
const IPV4_MORE_FRAGMENTS = 0x2000;
const IPV4_OFFSET = 0x1fff;
const IPV6_MORE_FRAGMENTS = 0x0001;
const IPV6_OFFSET = 0xfff8;

export interface IpPacket {
  readonly source: string;
  readonly destination: string;
  /** The protocol of the payload, also after an IPv6 fragment header. */
  readonly protocol: number;
  /** 0 if the protocol is not UDP. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** The offset of the payload: after the UDP header, or else after the IP header. */
  readonly payloadAt: number;
  /** Bytes that the payload had on the wire; a capture may hold fewer. */
  readonly payloadBytes: number;
  /** True if other packets contain more of the datagram. */
  readonly isFragmented: boolean;
}

/** A parsed IP header. */
interface Network {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly at: number;
  readonly bytes: number;
  readonly isFragmented: boolean;
}

/**
 * Parses a packet; null: not IP, not the first fragment, or truncated within the headers.
 * @param octets the packet from its IP header on
 */
export function parseIpPacket(octets: Uint8Array): IpPacket | null {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  try {
    const version = view.getUint8(0) >> 4;
    const network = version === 4 ? ipv4(octets, view) : version === 6 ? ipv6(octets, view) : null;
    return network === null ? null : withPorts(view, network);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function ipv4(octets: Uint8Array, view: DataView): Network | null {
  const fragment = view.getUint16(6);
  if ((fragment & IPV4_OFFSET) !== 0) return null;
  const at = (view.getUint8(0) & 0x0f) * 4;
  return {
    source: addressAt(octets, 12, 4),
    destination: addressAt(octets, 16, 4),
    protocol: view.getUint8(9),
    at,
    bytes: view.getUint16(2) - at,
    isFragmented: (fragment & IPV4_MORE_FRAGMENTS) !== 0,
  };
}

function ipv6(octets: Uint8Array, view: DataView): Network | null {
  const next = view.getUint8(6);
  const isFragmented = next === IP_PROTOCOL.fragment;
  const head = {
    source: addressAt(octets, 8, 16),
    destination: addressAt(octets, 24, 16),
  };
  const bytes = view.getUint16(4);
  if (!isFragmented) {
    return { ...head, protocol: next, at: IPV6_HEADER_BYTES, bytes, isFragmented };
  }
  const fragment = view.getUint16(IPV6_HEADER_BYTES + 2);
  if ((fragment & IPV6_OFFSET) !== 0) return null;
  return {
    ...head,
    protocol: view.getUint8(IPV6_HEADER_BYTES),
    at: IPV6_HEADER_BYTES + FRAGMENT_HEADER_BYTES,
    bytes: bytes - FRAGMENT_HEADER_BYTES,
    isFragmented: (fragment & IPV6_MORE_FRAGMENTS) !== 0,
  };
}

function withPorts(view: DataView, network: Network): IpPacket {
  const { source, destination, protocol, at, bytes, isFragmented } = network;
  const isUdp = protocol === IP_PROTOCOL.udp;
  const header = isUdp ? UDP_HEADER_BYTES : 0;
  return {
    source,
    destination,
    protocol,
    sourcePort: isUdp ? view.getUint16(at) : 0,
    destinationPort: isUdp ? view.getUint16(at + 2) : 0,
    payloadAt: at + header,
    payloadBytes: bytes - header,
    isFragmented,
  };
}

function addressAt(octets: Uint8Array, at: number, length: number): string {
  if (at + length > octets.length) throw new RangeError("the address is cut short");
  return formatAddress(octets.slice(at, at + length));
}
