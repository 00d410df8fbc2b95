/**
 * The fast path: BPF programs forward a pseudowire's frames between the pod's device and the underlay, uncut and
 * without a process. `encap` runs on the ingress of the pod's device and of the process's TAP device, `decap` on the
 * ingress of the underlay's devices. The programs pass frames and datagrams that they do not support, or that are
 * invalid, on to the process: its TAP device and socket receive them, and it counts them.
 */

import {
  Assembler,
  R0,
  R1,
  R2,
  R3,
  R4,
  R5,
  R6,
  R7,
  R8,
  R9,
  R10,
  reg,
} from "../../../linux/bpf-assembler.ts";
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE,
  IPV4_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  L2TP_UDP_PREFIX_BYTES,
  SESSION_ID_BYTES,
  UDP_HEADER_BYTES,
} from "../../../net/headers.ts";
import { COUNTERS, DECAP, DECAP_KEY, ENCAP } from "./layout.ts";

export interface MapFds {
  readonly encap: number;
  readonly decap: number;
  readonly counters: number;
}

/** struct __sk_buff (include/uapi/linux/bpf.h). */
const SKB = {
  length: 0,
  packetType: 4,
  protocol: 16,
  vlanPresent: 20,
  ifindex: 40,
  gsoSize: 176,
} as const;
/** enum bpf_func_id. */
const HELPER = {
  mapLookup: 1,
  monotonicTime: 5,
  random: 7,
  storeBytes: 9,
  redirect: 23,
  loadBytes: 26,
  adjustRoom: 50,
  redirectNeighbour: 152,
} as const;
const ADJ_ROOM_MAC = 1;
const ADJ_ROOM_FIXED_GSO = 1;
const ADJ_ROOM_DECAP_IPV4 = 128;
const ADJ_ROOM_DECAP_IPV6 = 256;
/** The packet is addressed to this host. */
const PACKET_HOST = 0;
/** enum tcx_action_base: pass the packet on to the next program, or to the stack. */
const TCX_NEXT = -1;
const TCX_DROP = 2;

/** Converts network byte order to this machine's. */
const swap16 = (value: number) => ((value & 0xff) << 8) | (value >> 8);
const TYPE = { ipv4: swap16(ETHERTYPE.ipv4), ipv6: swap16(ETHERTYPE.ipv6) } as const;
/** The "more fragments" flag and the fragment offset. */
const FRAGMENT = swap16(0x3fff);
/** Version 3, no T bit (RFC 3931, section 4.1.2.1). */
const DATA_MESSAGE = 0x0000_0300;
const PROTOCOL = { tcp: 6, udp: 17 } as const;
const SESSION_BYTES = L2TP_UDP_PREFIX_BYTES + SESSION_ID_BYTES;
const IPV4_VERSION_AND_LENGTH = 0x45;
/** The IPv4 total length has 16 bits. */
const MAX_LARGE_FRAME_BYTES = 65_400;

/** Encapsulates frames from a pod. Passes all others, and frames from the process, on to the entry's other device. */
export function encap(maps: MapFds): Uint8Array {
  /** Offsets on the stack. A helper may read only bytes that the program has written. */
  const HEADER = -ENCAP.headerCapacity;
  /** The outer IP header. */
  const OUTER = HEADER + ETHERNET_HEADER_BYTES;
  const FRAME = HEADER - 40;
  const KEY = FRAME - 8;
  const BYTE = KEY - 8;
  const SAVED = BYTE - 8;
  const FRAME_BYTES = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES;
  const ip = FRAME + ETHERNET_HEADER_BYTES;
  const a = new Assembler();
  a.alu("mov", R6, reg(R1));
  a.load("u32", R2, R6, SKB.ifindex).store("u32", R10, KEY, reg(R2));
  lookUp(a, maps.encap, KEY).jumpIf(R0, "eq", 0, "drop").alu("mov", R7, reg(R0));
  a.load("u32", R1, R7, ENCAP.egress).jumpIf(R1, "eq", 0, "other");
  a.load("u32", R1, R6, SKB.vlanPresent).jumpIf(R1, "ne", 0, "other");
  a.load("u32", R1, R6, SKB.protocol).jumpIf(R1, "eq", TYPE.ipv4, "ip");
  a.jumpIf(R1, "ne", TYPE.ipv6, "other");
  a.label("ip");
  loadBytes(a, 0, FRAME, FRAME_BYTES).jumpIf(R0, "ne", 0, "other");
  a.load("u32", R9, R6, SKB.length).alu("mov", R8, 1);
  a.load("u32", R1, R6, SKB.gsoSize).jumpIf(R1, "eq", 0, "plain");
  a.jumpIf(R9, "gt", MAX_LARGE_FRAME_BYTES, "other");
  a.load("u32", R1, R6, SKB.protocol).alu("mov", R2, ETHERNET_HEADER_BYTES);
  measureLarge(a, { ip, byte: BYTE, saved: SAVED, maxFrame: ENCAP.maxFrame, otherwise: "other" });
  a.jump("encapsulate");
  a.label("plain");
  a.load("u32", R1, R7, ENCAP.maxFrame).jumpIf(R9, "gt", reg(R1), "other");

  a.label("encapsulate");
  a.alu("mov", R1, reg(R6)).load("u32", R2, R7, ENCAP.headerBytes);
  a.alu("add", R2, ETHERNET_HEADER_BYTES).alu("mov", R3, ADJ_ROOM_MAC);
  a.load("u64", R4, R7, ENCAP.growFlags).call(HELPER.adjustRoom).jumpIf(R0, "ne", 0, "other");
  for (let at = 0; at < ENCAP.headerCapacity; at += 8) {
    a.load("u64", R1, R7, ENCAP.header + at).store("u64", R10, HEADER + at, reg(R1));
  }
  a.load("u32", R2, R6, SKB.length).alu("sub", R2, ETHERNET_HEADER_BYTES);
  a.load("u8", R1, R10, OUTER).jumpIf(R1, "ne", IPV4_VERSION_AND_LENGTH, "ipv6");
  completeIpv4(a, OUTER, SAVED);
  a.jump("write");
  a.label("ipv6");
  a.alu("sub", R2, IPV6_HEADER_BYTES).toNetworkOrder(R2, 16);
  a.store("u16", R10, OUTER + 4, reg(R2)).store("u16", R10, OUTER + IPV6_HEADER_BYTES + 4, reg(R2));

  a.label("write");
  a.load("u32", R4, R7, ENCAP.headerBytes).alu("add", R4, ETHERNET_HEADER_BYTES);
  a.jumpIf(R4, "gt", ENCAP.headerCapacity, "drop").jumpIf(R4, "lt", IPV4_HEADER_BYTES, "drop");
  a.alu("mov", R2, 0);
  storeBytes(a, HEADER).jumpIf(R0, "ne", 0, "drop");
  a.load("u32", R2, R7, ENCAP.headerBytes).alu("add", R2, ETHERNET_HEADER_BYTES);
  a.alu("mov", R4, ETHERNET_HEADER_BYTES);
  storeBytes(a, FRAME).jumpIf(R0, "ne", 0, "drop");
  a.load("u32", R1, R7, ENCAP.slot).store("u32", R10, KEY, reg(R1));
  lookUp(a, maps.counters, KEY).jumpIf(R0, "eq", 0, "send");
  a.atomicAdd(R0, COUNTERS.txPackets * 8, R8).atomicAdd(R0, COUNTERS.txBytes * 8, R9);
  a.label("send");
  a.load("u32", R1, R7, ENCAP.egress).alu("mov", R2, 0).alu("mov", R3, 0).alu("mov", R4, 0);
  a.call(HELPER.redirectNeighbour).exit();

  a.label("other");
  a.load("u32", R1, R7, ENCAP.other).alu("mov", R2, 0).call(HELPER.redirect).exit();
  a.label("drop");
  return a.alu("mov", R0, TCX_DROP).exit().finish();
}

/** Sets lengths, identification and checksum. R2: bytes of the IP packet. */
function completeIpv4(a: Assembler, header: number, saved: number): void {
  a.store("u64", R10, saved, reg(R2)).toNetworkOrder(R2, 16);
  a.store("u16", R10, header + 2, reg(R2))
    .call(HELPER.random)
    .alu("and", R0, 0xffff);
  a.store("u16", R10, header + 4, reg(R0));
  a.load("u32", R1, R7, ENCAP.ipSum).alu("add", R1, reg(R0));
  a.load("u16", R2, R10, header + 2).alu("add", R1, reg(R2));
  for (let fold = 0; fold < 2; fold++) {
    a.alu("mov", R2, reg(R1)).alu("rsh", R2, 16).alu("and", R1, 0xffff).alu("add", R1, reg(R2));
  }
  a.alu("xor", R1, 0xffff).store("u16", R10, header + 10, reg(R1));
  a.load("u64", R2, R10, saved).alu("sub", R2, IPV4_HEADER_BYTES).toNetworkOrder(R2, 16);
  a.store("u16", R10, header + IPV4_HEADER_BYTES + 4, reg(R2));
}

/** Drops all frames: attached to a pair's end on the node, it takes effect while no other program is attached. */
export function dropAll(): Uint8Array {
  return new Assembler().alu("mov", R0, TCX_DROP).exit().finish();
}

/** Decapsulates a session's valid datagrams. Passes all others on to the socket. */
export function decap(maps: MapFds): Uint8Array {
  const IPV4_DATAGRAM = IPV4_HEADER_BYTES + UDP_HEADER_BYTES + SESSION_BYTES;
  const IPV6_DATAGRAM = IPV6_HEADER_BYTES + UDP_HEADER_BYTES + SESSION_BYTES;
  const PACKET = -IPV6_DATAGRAM;
  const KEY = PACKET - DECAP_KEY.bytes;
  const COOKIE = KEY - 8;
  const ETHERNET = COOKIE - 16;
  const BYTE = ETHERNET - 8;
  const SAVED = BYTE - 8;
  const a = new Assembler();
  a.alu("mov", R6, reg(R1));
  a.load("u32", R1, R6, SKB.packetType).jumpIf(R1, "ne", PACKET_HOST, "next");
  a.load("u32", R1, R6, SKB.vlanPresent).jumpIf(R1, "ne", 0, "next");
  for (let at = 0; at < DECAP_KEY.bytes; at += 8) a.store("u64", R10, KEY + at, 0);
  a.load("u32", R1, R6, SKB.protocol).jumpIf(R1, "eq", TYPE.ipv4, "ipv4");
  a.jumpIf(R1, "ne", TYPE.ipv6, "next");

  loadBytes(a, ETHERNET_HEADER_BYTES, PACKET, IPV6_DATAGRAM).jumpIf(R0, "ne", 0, "next");
  a.load("u8", R1, R10, PACKET + 6).jumpIf(R1, "ne", PROTOCOL.udp, "next");
  requireLength(a, PACKET + 4, ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES);
  requireLength(a, PACKET + IPV6_HEADER_BYTES + 4, ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES);
  for (const half of [0, 8]) {
    a.load("u64", R1, R10, PACKET + 24 + half);
    a.store("u64", R10, KEY + DECAP_KEY.local + half, reg(R1));
    a.load("u64", R1, R10, PACKET + 8 + half);
    a.store("u64", R10, KEY + DECAP_KEY.remote + half, reg(R1));
  }
  takeDatagram(a, PACKET + IPV6_HEADER_BYTES, KEY, 6);
  a.alu("mov", R8, ETHERNET_HEADER_BYTES + IPV6_DATAGRAM).jump("find");

  a.label("ipv4");
  loadBytes(a, ETHERNET_HEADER_BYTES, PACKET, IPV4_DATAGRAM).jumpIf(R0, "ne", 0, "next");
  a.load("u8", R1, R10, PACKET).jumpIf(R1, "ne", IPV4_VERSION_AND_LENGTH, "next");
  a.load("u8", R1, R10, PACKET + 9).jumpIf(R1, "ne", PROTOCOL.udp, "next");
  a.load("u16", R1, R10, PACKET + 6).jumpIf(R1, "set", FRAGMENT, "next");
  requireLength(a, PACKET + 2, ETHERNET_HEADER_BYTES);
  requireLength(a, PACKET + IPV4_HEADER_BYTES + 4, ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES);
  a.load("u32", R1, R10, PACKET + 16).store("u32", R10, KEY + DECAP_KEY.local, reg(R1));
  a.load("u32", R1, R10, PACKET + 12).store("u32", R10, KEY + DECAP_KEY.remote, reg(R1));
  takeDatagram(a, PACKET + IPV4_HEADER_BYTES, KEY, 4);
  a.alu("mov", R8, ETHERNET_HEADER_BYTES + IPV4_DATAGRAM);

  a.label("find");
  lookUp(a, maps.decap, KEY).jumpIf(R0, "eq", 0, "next").alu("mov", R7, reg(R0));
  requireCookie(a, COOKIE);
  // Load the frame's Ethernet header.
  a.load("u32", R2, R7, DECAP.strip);
  loadBytes(a, reg(R2), ETHERNET, ETHERNET_HEADER_BYTES).jumpIf(R0, "ne", 0, "next");
  a.load("u32", R9, R6, SKB.length).load("u32", R2, R7, DECAP.strip).alu("sub", R9, reg(R2));
  a.alu("mov", R8, 1);
  a.load("u32", R1, R6, SKB.gsoSize).jumpIf(R1, "eq", 0, "plain");
  a.alu("add", R2, ETHERNET_HEADER_BYTES);
  loadBytes(a, reg(R2), PACKET, IPV4_HEADER_BYTES).jumpIf(R0, "ne", 0, "next");
  a.load("u32", R2, R7, DECAP.strip).alu("add", R2, ETHERNET_HEADER_BYTES);
  a.load("u16", R1, R10, ETHERNET + ETHERNET_HEADER_BYTES - 2);
  const { maxFrame } = DECAP;
  measureLarge(a, { ip: PACKET, byte: BYTE, saved: SAVED, maxFrame, otherwise: "next" });
  a.jump("strip");
  a.label("plain");
  a.load("u32", R1, R7, DECAP.maxFrame).jumpIf(R9, "gt", reg(R1), "next");

  a.label("strip");
  // The device that segments the frame must know its protocol.
  a.load("u16", R1, R10, ETHERNET + ETHERNET_HEADER_BYTES - 2).alu("mov", R4, ADJ_ROOM_FIXED_GSO);
  a.jumpIf(R1, "ne", TYPE.ipv4, "no ipv4").alu("or", R4, ADJ_ROOM_DECAP_IPV4);
  a.label("no ipv4");
  a.jumpIf(R1, "ne", TYPE.ipv6, "no ipv6").alu("or", R4, ADJ_ROOM_DECAP_IPV6);
  a.label("no ipv6");
  a.alu("mov", R1, reg(R6)).load("u32", R3, R7, DECAP.strip);
  a.alu("mov", R2, 0).alu("sub", R2, reg(R3)).alu("mov", R3, ADJ_ROOM_MAC);
  a.call(HELPER.adjustRoom).jumpIf(R0, "ne", 0, "next");
  a.alu("mov", R2, 0).alu("mov", R4, ETHERNET_HEADER_BYTES);
  storeBytes(a, ETHERNET).jumpIf(R0, "ne", 0, "drop");
  a.load("u32", R1, R7, DECAP.slot).store("u32", R10, KEY, reg(R1));
  lookUp(a, maps.counters, KEY).jumpIf(R0, "eq", 0, "deliver");
  a.atomicAdd(R0, COUNTERS.rxPackets * 8, R8).atomicAdd(R0, COUNTERS.rxBytes * 8, R9);
  a.alu("mov", R8, reg(R0)).call(HELPER.monotonicTime);
  a.store("u64", R8, COUNTERS.lastReceived * 8, reg(R0));
  a.label("deliver");
  a.load("u32", R1, R7, DECAP.device).alu("mov", R2, 0).call(HELPER.redirect).exit();

  a.label("next");
  a.alu("mov", R0, TCX_NEXT).exit();
  a.label("drop");
  return a.alu("mov", R0, TCX_DROP).exit().finish();
}

/** Requires that the length at `field` covers exactly the bytes after the first `before`: no truncation, no trailer. */
function requireLength(a: Assembler, field: number, before: number): void {
  a.load("u16", R1, R10, field).toNetworkOrder(R1, 16);
  a.load("u32", R2, R6, SKB.length).alu("sub", R2, before).jumpIf(R1, "ne", reg(R2), "next");
}

/** Requires a data message without a UDP checksum. Writes its ports and session ID into the key. */
function takeDatagram(a: Assembler, udp: number, key: number, family: number): void {
  a.load("u16", R1, R10, udp + 6).jumpIf(R1, "ne", 0, "next");
  a.load("u32", R1, R10, udp + UDP_HEADER_BYTES).jumpIf(R1, "ne", DATA_MESSAGE, "next");
  a.load("u16", R1, R10, udp + 2).store("u16", R10, key + DECAP_KEY.localPort, reg(R1));
  a.load("u16", R1, R10, udp).store("u16", R10, key + DECAP_KEY.remotePort, reg(R1));
  a.load("u32", R1, R10, udp + UDP_HEADER_BYTES + 4);
  a.store("u32", R10, key + DECAP_KEY.sessionId, reg(R1));
  a.store("u32", R10, key + DECAP_KEY.family, family);
}

/** Requires the session's cookie. R8: the cookie's offset in the packet. */
function requireCookie(a: Assembler, cookie: number): void {
  a.store("u64", R10, cookie, 0);
  a.load("u32", R1, R7, DECAP.cookieBytes).jumpIf(R1, "eq", 0, "cookie is right");
  a.jumpIf(R1, "eq", 8, "long cookie");
  loadBytes(a, reg(R8), cookie, 4).jumpIf(R0, "ne", 0, "next").jump("compare");
  a.label("long cookie");
  loadBytes(a, reg(R8), cookie, 8).jumpIf(R0, "ne", 0, "next");
  a.label("compare");
  a.load("u64", R1, R10, cookie).load("u64", R2, R7, DECAP.cookie);
  a.jumpIf(R1, "ne", reg(R2), "next");
  a.label("cookie is right");
}

interface Large {
  /** Stack offset of the first 20 bytes of its IP header. */
  readonly ip: number;
  /** Scratch space on the stack. */
  readonly byte: number;
  readonly saved: number;
  /** Offset, from R7, of the largest allowed frame. */
  readonly maxFrame: number;
  readonly otherwise: string;
}

/**
 * Counts a large frame as its segments. R1: its EtherType, R2: the offset of its IP header in the packet, R9: its
 * bytes. Sets R8 to the number of frames and R9 to their bytes. Jumps to `otherwise` if it is not plain TCP or UDP, or
 * if its segments are too large.
 */
function measureLarge(a: Assembler, { ip, byte, saved, maxFrame, otherwise }: Large): void {
  a.alu("mov", R3, reg(R2)).jumpIf(R1, "ne", TYPE.ipv4, "large ipv6");
  a.load("u8", R4, R10, ip).alu("and", R4, 0xf).alu("lsh", R4, 2).alu("add", R3, reg(R4));
  a.load("u8", R4, R10, ip + 9).jump("transport");
  a.label("large ipv6");
  a.alu("add", R3, IPV6_HEADER_BYTES).load("u8", R4, R10, ip + 6);
  a.label("transport");
  a.store("u64", R10, saved, reg(R2));
  a.jumpIf(R4, "eq", PROTOCOL.udp, "udp").jumpIf(R4, "ne", PROTOCOL.tcp, otherwise);
  a.alu("mov", R8, reg(R3)).alu("add", R3, 12).alu("mov", R2, reg(R3));
  loadBytes(a, reg(R2), byte, 1).jumpIf(R0, "ne", 0, otherwise);
  a.load("u8", R4, R10, byte).alu("rsh", R4, 4).alu("lsh", R4, 2);
  a.alu("mov", R3, reg(R8)).alu("add", R3, reg(R4)).jump("headers");
  a.label("udp");
  a.alu("add", R3, UDP_HEADER_BYTES);
  a.label("headers");
  // Make R3 the bytes of the frame's headers: subtract the offset of the frame.
  a.load("u64", R2, R10, saved).alu("sub", R2, ETHERNET_HEADER_BYTES).alu("sub", R3, reg(R2));
  a.jumpIf(R3, "gt", reg(R9), otherwise);
  a.load("u32", R1, R6, SKB.gsoSize).alu("mov", R2, reg(R1)).alu("add", R2, reg(R3));
  a.load("u32", R4, R7, maxFrame).jumpIf(R2, "gt", reg(R4), otherwise);
  a.alu("mov", R8, reg(R9)).alu("sub", R8, reg(R3)).alu("add", R8, reg(R1)).alu("sub", R8, 1);
  a.alu("div", R8, reg(R1));
  a.alu("mov", R2, reg(R8)).alu("sub", R2, 1).alu("mul", R2, reg(R3)).alu("add", R9, reg(R2));
}

/** Looks up a map value. R0: its address, or 0. */
function lookUp(a: Assembler, map: number, key: number): Assembler {
  return a.loadMap(R1, map).alu("mov", R2, reg(R10)).alu("add", R2, key).call(HELPER.mapLookup);
}

/** Copies bytes from the packet to the stack. R0: 0 if the packet has them. */
function loadBytes(
  a: Assembler,
  from: Parameters<Assembler["alu"]>[2],
  to: number,
  bytes: number,
): Assembler {
  a.alu("mov", R2, from).alu("mov", R1, reg(R6)).alu("mov", R3, reg(R10)).alu("add", R3, to);
  return a.alu("mov", R4, bytes).call(HELPER.loadBytes);
}

/** Copies R4 bytes from the stack to offset R2 of the packet. */
function storeBytes(a: Assembler, from: number): Assembler {
  a.alu("mov", R1, reg(R6)).alu("mov", R3, reg(R10)).alu("add", R3, from);
  return a.alu("mov", R5, 0).call(HELPER.storeBytes);
}
