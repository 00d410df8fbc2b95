/** Frames for tests, and plain reference implementations from the RFCs. */
import { Protocol } from "./frame.ts";

/** Returns the folded sum of RFC 1071, in network byte order. */
export function referenceSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

export interface Packet {
  readonly isIpv4: boolean;
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly tags?: readonly number[];
  readonly tos?: number;
  readonly id?: number;
  readonly fragment?: number;
  readonly ttl?: number;
  readonly ipOptions?: Uint8Array;
  readonly source?: number;
  readonly ports?: readonly [number, number];
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  readonly tcpOptions?: Uint8Array;
  /** True: the checksum field holds the pseudo-header's sum, as from a device. */
  readonly isPartial?: boolean;
}

export const ACK = 0x10;
export const PSH = 0x08;
export const FIN = 0x01;
export const CWR = 0x80;

/** Returns the frame with all checksums. */
export function buildFrame(packet: Packet): Buffer {
  const { isIpv4, protocol, payload, isPartial = false } = packet;
  const transport = protocol === Protocol.Tcp ? tcpHeader(packet) : udpHeader(packet);
  const addresses = isIpv4
    ? Buffer.from([192, 0, 2, packet.source ?? 1, 192, 0, 2, 200])
    : Buffer.from(
        `20010db8${"00".repeat(11)}0${packet.source ?? 1}20010db8${"00".repeat(11)}c8`,
        "hex",
      );
  const pseudo = Buffer.alloc(addresses.length + 8);
  addresses.copy(pseudo);
  pseudo.writeUInt32BE(transport.length + payload.length, addresses.length);
  pseudo.writeUInt32BE(protocol, addresses.length + 4);
  const field = protocol === Protocol.Tcp ? 16 : 6;
  if (isPartial) transport.writeUInt16BE(referenceSum(pseudo), field);
  else {
    const value = 0xffff - referenceSum(Buffer.concat([pseudo, transport, payload]));
    transport.writeUInt16BE(value === 0 && protocol === Protocol.Udp ? 0xffff : value, field);
  }
  const ip = isIpv4
    ? ipv4Header(packet, addresses, transport.length)
    : ipv6Header(packet, addresses, transport.length);
  const tags = (packet.tags ?? []).map((tag) => Buffer.from([0x81, 0, tag >> 8, tag & 0xff]));
  const type = Buffer.from(isIpv4 ? "0800" : "86dd", "hex");
  const addressesOfLink = Buffer.from("020000000002020000000001", "hex");
  return Buffer.concat([addressesOfLink, ...tags, type, ip, transport, payload]);
}

function ipv4Header(packet: Packet, addresses: Buffer, transportBytes: number): Buffer {
  const options = packet.ipOptions ?? new Uint8Array();
  const header = Buffer.alloc(12);
  header[0] = 0x40 | ((20 + options.length) / 4);
  header[1] = packet.tos ?? 0;
  header.writeUInt16BE(20 + options.length + transportBytes + packet.payload.length, 2);
  header.writeUInt16BE((packet.id ?? 1) & 0xffff, 4);
  header.writeUInt16BE(packet.fragment ?? 0x4000, 6);
  header[8] = packet.ttl ?? 64;
  header[9] = packet.protocol;
  const all = Buffer.concat([header, addresses, options]);
  all.writeUInt16BE(0xffff - referenceSum(all), 10);
  return all;
}

function ipv6Header(packet: Packet, addresses: Buffer, transportBytes: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE((0x6000_0000 | ((packet.tos ?? 0) << 20)) >>> 0, 0);
  header.writeUInt16BE(transportBytes + packet.payload.length, 4);
  header[6] = packet.protocol;
  header[7] = packet.ttl ?? 64;
  return Buffer.concat([header, addresses]);
}

function tcpHeader(packet: Packet): Buffer {
  const options = packet.tcpOptions ?? new Uint8Array();
  const header = Buffer.alloc(20);
  writePorts(header, packet);
  header.writeUInt32BE((packet.sequence ?? 1) >>> 0, 4);
  header.writeUInt32BE(packet.acknowledgement ?? 77, 8);
  header[12] = ((20 + options.length) / 4) << 4;
  header[13] = packet.flags ?? ACK;
  header.writeUInt16BE(packet.window ?? 501, 14);
  header.writeUInt16BE(packet.urgent ?? 0, 18);
  return Buffer.concat([header, options]);
}

function udpHeader(packet: Packet): Buffer {
  const header = Buffer.alloc(8);
  writePorts(header, packet);
  header.writeUInt16BE(8 + packet.payload.length, 4);
  return header;
}

function writePorts(header: Buffer, { ports = [40_000, 5201] }: Packet): void {
  header.writeUInt16BE(ports[0], 0);
  header.writeUInt16BE(ports[1], 2);
}

/** Returns the segments of a large packet, each built from scratch. */
export function referenceSegments(packet: Packet, gsoSize: number): Buffer[] {
  const { payload } = packet;
  const count = Math.max(1, Math.ceil(payload.length / gsoSize));
  const flags = packet.flags ?? ACK;
  return Array.from({ length: count }, (_, index) =>
    buildFrame({
      ...packet,
      isPartial: false,
      payload: payload.subarray(index * gsoSize, (index + 1) * gsoSize),
      id: (packet.id ?? 1) + index,
      sequence: (packet.sequence ?? 1) + index * gsoSize,
      flags: (index < count - 1 ? flags & ~(FIN | PSH) : flags) & (index > 0 ? ~CWR : 0xff),
    }),
  );
}
