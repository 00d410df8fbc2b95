/** Finds control messages of L2TPv3, and of L2TPv2, in captured packets. */
import { ETHERNET_HEADER_BYTES, ETHERTYPE, ETHERTYPE_OFFSET } from "../../net/headers.ts";
import { formatAddress } from "../../net/ip.ts";
import type { CapturedPacket } from "./pcap.ts";

/** A control message, without the zero session ID that precedes it over IP (RFC 3931 section 4.1.1). */
export interface ControlDatagram {
  readonly seconds: number;
  /** "192.0.2.1" over IP, "192.0.2.1:1701" and "[2001:db8::1]:1701" over UDP. */
  readonly from: string;
  readonly to: string;
  /** Addresses of sender and receiver, without ports. */
  readonly hosts: readonly [from: string, to: string];
  readonly octets: Uint8Array<ArrayBuffer>;
}

const PROTOCOL = { udp: 17, l2tp: 115 } as const;
/** T, L and S bits, and the version; a data message has no T bit. */
const CONTROL_MASK = 0xc80f;
const CONTROL: ReadonlySet<number> = new Set([0xc802, 0xc803]);

/** Bytes before the EtherType, by LINKTYPE_*. Plain IP has no EtherType. */
const ETHERTYPE_AT: Readonly<Record<number, number>> = { 1: ETHERTYPE_OFFSET, 113: 14, 276: 0 };
const NETWORK_AT: Readonly<Record<number, number>> = { 1: ETHERNET_HEADER_BYTES, 113: 16, 276: 20 };
const PLAIN_IP: Readonly<Record<number, number>> = { 12: 0, 14: 0, 101: 0, 228: 0, 229: 0, 0: 4 };

/** @returns null if the packet is not a control message */
export function dissect(packet: CapturedPacket): ControlDatagram | null {
  const { octets, linkType } = packet;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  try {
    const at = PLAIN_IP[linkType] ?? networkHeader(view, linkType);
    return at === null ? null : dissectIp(packet, view, at);
  } catch (error) {
    // Truncated by the capture's snapshot length.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function networkHeader(view: DataView, linkType: number): number | null {
  let typeAt = ETHERTYPE_AT[linkType];
  let at = NETWORK_AT[linkType];
  if (typeAt === undefined || at === undefined) return null;
  for (;;) {
    const type = view.getUint16(typeAt);
    if (type === ETHERTYPE.ipv4 || type === ETHERTYPE.ipv6) return at;
    if (type !== ETHERTYPE.vlan && type !== ETHERTYPE.serviceVlan) return null;
    typeAt = at + 2;
    at += 4;
  }
}

function dissectIp(packet: CapturedPacket, view: DataView, at: number): ControlDatagram | null {
  const version = view.getUint8(at) >> 4;
  if (version === 4) {
    // A fragment has at most the beginning of the message.
    if ((view.getUint16(at + 6) & 0x3fff) !== 0) return null;
    const payload = at + (view.getUint8(at) & 0x0f) * 4;
    const addresses = [at + 12, at + 16].map((start) => address(packet, start, 4));
    return dissectPayload(packet, view, view.getUint8(at + 9), payload, addresses);
  }
  if (version !== 6) return null;
  const addresses = [at + 8, at + 24].map((start) => address(packet, start, 16));
  return dissectPayload(packet, view, view.getUint8(at + 6), at + 40, addresses);
}

function address({ octets }: CapturedPacket, at: number, length: number): string {
  return formatAddress(octets.slice(at, at + length));
}

function dissectPayload(
  { seconds, octets }: CapturedPacket,
  view: DataView,
  protocol: number,
  at: number,
  [from = "", to = ""]: readonly string[],
): ControlDatagram | null {
  if (protocol === PROTOCOL.l2tp) {
    if (view.getUint32(at) !== 0 || !isControl(view, at + 4)) return null;
    return { seconds, from, to, hosts: [from, to], octets: octets.subarray(at + 4) };
  }
  if (protocol !== PROTOCOL.udp || !isControl(view, at + 8)) return null;
  const [source, destination] = [view.getUint16(at), view.getUint16(at + 2)];
  return {
    seconds,
    from: withPort(from, source),
    to: withPort(to, destination),
    hosts: [from, to],
    octets: octets.subarray(at + 8),
  };
}

/** Recognizes control messages on any port, because L2TP is also used on ports other than 1701. */
function isControl(view: DataView, at: number): boolean {
  return CONTROL.has(view.getUint16(at) & CONTROL_MASK);
}

function withPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
