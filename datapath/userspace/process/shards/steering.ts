/**
 * Which shard a remote address belongs to: all the datagrams of one sender come to one thread, and so stay in order.
 * By the sender alone, for what the kernel joins to one message (UDP_GRO) may hold datagrams of several sessions.
 */

import {
  attachProgram,
  Bpf,
  type Instruction,
  NETWORK_HEADER,
  SO_ATTACH_FILTER,
  SO_ATTACH_REUSEPORT_CBPF,
} from "../../../../linux/filter.ts";
import { AF_INET, sharePort } from "../../../../linux/socket.ts";
import type { Encapsulation } from "../../../../model/model.ts";
import { parseAddress } from "../../../../net/ip.ts";

/** One of so many shards. */
export interface Share {
  readonly index: number;
  readonly count: number;
}

/** 2³² by the golden ratio: spreads addresses that differ in any of their bits (Knuth, 6.4). */
const MULTIPLIER = 0x9e37_79b1;
const HASH_SHIFT = 16;
/** The source address: where in the header, and in how many words. */
const SOURCE_IPV4 = { at: 12, words: 1 } as const;
const SOURCE_IPV6 = { at: 8, words: 4 } as const;

/** The shard of a remote address. @throws TypeError where it is none */
export function shardOf(address: string, count: number): number {
  const bytes = parseAddress(address);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(address)} is not an IP address`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let word = 0;
  for (let at = 0; at < bytes.length; at += 4) word ^= view.getUint32(at);
  return (Math.imul(word, MULTIPLIER) >>> HASH_SHIFT) % count;
}

/** The same for the kernel, of a packet: leaves it in A. */
function sourceShard(isIpv4: boolean, count: number): Instruction[] {
  const { at, words } = isIpv4 ? SOURCE_IPV4 : SOURCE_IPV6;
  const program: Instruction[] = [];
  for (let word = 0; word < words; word++) {
    if (word > 0) program.push({ code: Bpf.CopyToX });
    program.push({ code: Bpf.LoadWord, k: NETWORK_HEADER + at + 4 * word });
    if (word > 0) program.push({ code: Bpf.XorX });
  }
  return [
    ...program,
    { code: Bpf.Multiply, k: MULTIPLIER },
    { code: Bpf.ShiftRight, k: HASH_SHIFT },
    { code: Bpf.Modulo, k: count },
  ];
}

/**
 * Has a socket that is not bound yet receive what is for its shard. UDP: sockets of one port are to be bound in the
 * order of the shards, and only their first has the program. Raw sockets all get a copy of everything: each
 * takes its part.
 * @throws SystemError
 */
export function steer(
  fd: number,
  encapsulation: Encapsulation,
  family: number,
  { index, count }: Share,
): void {
  const shard = sourceShard(family === AF_INET, count);
  if (encapsulation === "IP") {
    attachProgram(fd, SO_ATTACH_FILTER, [
      ...shard,
      { code: Bpf.JumpIfEqual, k: index, jumpFalse: 1 },
      { code: Bpf.ReturnConstant, k: 0xffff_ffff },
      { code: Bpf.ReturnConstant, k: 0 },
    ]);
    return;
  }
  sharePort(fd);
  if (index === 0) attachProgram(fd, SO_ATTACH_REUSEPORT_CBPF, [...shard, { code: Bpf.ReturnA }]);
}
