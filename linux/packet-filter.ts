/** Builds classic BPF filters for the packets of one local address. Pure. */
import { ETHERTYPE, IPV6_HEADER_BYTES } from "../net/headers.ts";
import { parseAddress } from "../net/ip.ts";
import { IP_PROTOCOL } from "../net/ip-packet.ts";
import { ClassicFilter } from "./classic-bpf.ts";
import type { SocketAddress } from "./socket.ts";

/** A condition on a word of the payload: 32 bits in network order. */
export interface PayloadWord {
  /** Offset in bytes after the IP header. */
  readonly at: number;
  readonly mask: number;
  /** The value of the masked word. */
  readonly value: number;
  /** True: capture packets with this value; false: capture all others. */
  readonly isTaken: boolean;
}

export interface PacketFilter {
  /** The number of the protocol above IP. */
  readonly protocol: number;
  /** Ports are compared for UDP only; 0: any port. */
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /**
   * "between": packets between both addresses, in both directions, with both ports.
   * "either port": as "between", but one matching port is enough.
   * "others": packets to the local address and port from any address except the remote.
   */
  readonly takes: "between" | "either port" | "others";
  /** A condition on the payload; undefined: none. A packet that ends before the word is not captured. */
  readonly word?: PayloadWord;
}

/** SKF_AD_OFF + SKF_AD_PROTOCOL: the packet's EtherType. */
const PACKET_TYPE = 0xffff_f000;
const IPV4_FRAGMENT_OFFSET = 0x1fff;
const IPV6_FRAGMENT_OFFSET = 0xfff8;
const IPV6_FRAGMENT_BYTES = 8;
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;

/** Offsets of an IP header. */
interface Header {
  readonly source: number;
  readonly destination: number;
}
const IPV4: Header = { source: 12, destination: 16 };
const IPV6: Header = { source: 8, destination: 24 };

/**
 * Returns a filter for a packet socket of type SOCK_DGRAM, whose packets start at their IP header. It captures only the
 * first fragment of a datagram.
 * @param snapBytes bytes to keep of each packet
 * @throws TypeError if the addresses are not two IP addresses of one family
 */
export function packetFilter(filter: PacketFilter, snapBytes: number): Uint8Array {
  const local = parseAddress(filter.local.address);
  const remote = parseAddress(filter.remote.address);
  if (local === undefined || remote === undefined || local.length !== remote.length) {
    const pair = `${filter.local.address} and ${filter.remote.address}`;
    throw new TypeError(`${pair} are not two IP addresses of one family`);
  }
  const program = new ClassicFilter();
  if (local.length === 4) ipv4Payload(program, filter.protocol);
  else ipv6Payload(program, filter.protocol);
  const header = local.length === 4 ? IPV4 : IPV6;
  if (filter.takes !== "others") {
    isAddress(program, header.source, local, "incoming");
    isAddress(program, header.destination, remote, "drop");
    havePorts(program, filter, SOURCE_PORT);
    program.label("incoming");
  }
  isAddress(program, header.destination, local, "drop");
  if (filter.takes === "others") isOtherAddress(program, header.source, remote);
  else isAddress(program, header.source, remote, "drop");
  havePorts(program, filter, DESTINATION_PORT);
  program.label("drop").do("return", 0).label("take");
  if (filter.word !== undefined) hasWord(program, filter.word);
  return program.do("return", snapBytes).finish();
}

/** Drops the packet unless its word fulfills the condition. */
function hasWord(program: ClassicFilter, { at, mask, value, isTaken }: PayloadWord): void {
  program
    .do("load32AtX", at)
    .do("and", mask)
    .jumpIf("ifEqual", value, isTaken ? "fits" : "unfit", isTaken ? "unfit" : "fits")
    .label("unfit")
    .do("return", 0)
    .label("fits");
}

/** Sets X to the offset of the payload. */
function ipv4Payload(program: ClassicFilter, protocol: number): void {
  program
    .do("load16", PACKET_TYPE)
    .jumpIf("ifEqual", ETHERTYPE.ipv4, null, "drop")
    .do("load8", 9)
    .jumpIf("ifEqual", protocol, null, "drop")
    .do("load16", 6)
    .jumpIf("ifAnyBit", IPV4_FRAGMENT_OFFSET, "drop", null)
    .do("setXToIpv4Header", 0);
}

function ipv6Payload(program: ClassicFilter, protocol: number): void {
  program
    .do("load16", PACKET_TYPE)
    .jumpIf("ifEqual", ETHERTYPE.ipv6, null, "drop")
    .do("setX", IPV6_HEADER_BYTES)
    .do("load8", 6)
    .jumpIf("ifEqual", protocol, "payload", null)
    .jumpIf("ifEqual", IP_PROTOCOL.fragment, null, "drop")
    .do("load8", IPV6_HEADER_BYTES)
    .jumpIf("ifEqual", protocol, null, "drop")
    .do("load16", IPV6_HEADER_BYTES + 2)
    .jumpIf("ifAnyBit", IPV6_FRAGMENT_OFFSET, "drop", null)
    .do("setX", IPV6_HEADER_BYTES + IPV6_FRAGMENT_BYTES)
    .label("payload");
}

/** Jumps to the label `otherwise` unless the address at the offset is this one. */
function isAddress(
  program: ClassicFilter,
  offset: number,
  address: Uint8Array,
  otherwise: string,
): void {
  for (const { at, word } of wordsOf(address)) {
    program.do("load32", offset + at).jumpIf("ifEqual", word, null, otherwise);
  }
}

/** Drops the packet if the address at the offset is this one. */
function isOtherAddress(program: ClassicFilter, offset: number, address: Uint8Array): void {
  const words = wordsOf(address);
  for (const { at, word } of words) {
    const isLast = at + 4 === address.length;
    const equal = isLast ? "drop" : null;
    program.do("load32", offset + at).jumpIf("ifEqual", word, equal, isLast ? null : "other");
  }
  program.label("other");
}

function wordsOf(address: Uint8Array): { readonly at: number; readonly word: number }[] {
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  const words = [];
  for (let at = 0; at < address.length; at += 4) words.push({ at, word: view.getUint32(at) });
  return words;
}

/** Captures the packet if its ports are the filter's, and drops it otherwise. */
function havePorts(program: ClassicFilter, filter: PacketFilter, localAt: number): void {
  const isUdp = filter.protocol === IP_PROTOCOL.udp;
  const remoteAt = localAt === SOURCE_PORT ? DESTINATION_PORT : SOURCE_PORT;
  const ports = [
    { at: localAt, port: filter.local.port },
    { at: remoteAt, port: filter.takes === "others" ? 0 : filter.remote.port },
  ].filter(({ port }) => isUdp && port !== 0);
  const isOneEnough = filter.takes === "either port";
  for (const [index, { at, port }] of ports.entries()) {
    const isLast = index === ports.length - 1;
    const equal = isOneEnough || isLast ? "take" : null;
    const unequal = isOneEnough && !isLast ? null : "drop";
    program.do("load16AtX", at).jumpIf("ifEqual", port, equal, unequal);
  }
  // An unconditional jump: both results lead to the same label.
  if (ports.length === 0) program.jumpIf("ifEqual", 0, "take", "take");
}
