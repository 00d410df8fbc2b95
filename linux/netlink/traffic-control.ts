/** Ingress filters of links, which outlive the process that set them (tc(8), include/uapi/linux/pkt_{sched,cls}.h). */
import { parseMac } from "../../net/mac.ts";
import { isErrno } from "../errno.ts";
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "./socket.ts";

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;
export const TCMSG_BYTES = 20;
export const TCA_KIND = 1;
export const TCA_OPTIONS = 2;
const TCA_STATS2 = 7;
const TCA_STATS_QUEUE = 3;
/** The offset in struct gnet_stats_queue. */
const DROPS_AT = 8;
const TCA_BPF_OPS_LEN = 4;
const TCA_BPF_OPS = 5;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
/** The program's result is the frame's verdict. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const HANDLE_CLSACT = 0xffff_0000;
const PARENT_CLSACT = 0xffff_fff1;
export const PARENT_INGRESS = 0xffff_fff2;
export const PARENT_EGRESS = 0xffff_fff3;
const FIRST_HANDLE = 1;
/** The priority, and ETH_P_ALL in network order. */
const FIRST_OF_ALL_PROTOCOLS = (1 << 16) | 0x0300;

/** Classic BPF (include/uapi/linux/bpf_common.h), which requires no CAP_BPF. */
const INSTRUCTION_BYTES = 8;
const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const SOURCE_AT = 6;
/** TC_ACT_UNSPEC: pass the frame on to the next filter, or to the stack. */
const PASS = 0xffff_ffff;
/** TC_ACT_SHOT. */
const DROP = 2;

/** Returns a struct tcmsg. @param info priority and protocol of a filter */
export function tcmsg(ifindex: number, handle: number, parent: number, info: number): Buffer {
  const header = Buffer.alloc(TCMSG_BYTES);
  header.writeInt32LE(ifindex, 4);
  header.writeUInt32LE(handle, 8);
  header.writeUInt32LE(parent, 12);
  header.writeUInt32LE(info, 16);
  return header;
}

const ifindexOf = (payload: Buffer): number => payload.readInt32LE(4);

/**
 * Attaches a BPF program to the link's ingress, after the programs of tcx, for the lifetime of the link. Does nothing
 * if the link already has one.
 * @param program a descriptor, which may be closed afterward @throws NetlinkError
 */
export function setIngressProgram(
  socket: NetlinkSocket,
  ifindex: number,
  program: number,
  name: string,
): void {
  addClsact(socket, ifindex);
  const add = newFilter(ifindex, NLM_F_EXCL, (options) => {
    options.u32(TCA_BPF_FD, program).string(TCA_BPF_NAME, name);
  });
  unlessThere(() =>
    socket.request({ message: add, name: `put filter ${name} on link ${ifindex}` }),
  );
}

/** Returns a filter that passes frames with one Ethernet source address, and drops all others. */
export function sourceFilter(mac: string): Buffer {
  const bytes = Buffer.from(parseMac(mac));
  const program: readonly (readonly [number, number, number, number])[] = [
    [LOAD_WORD, 0, 0, SOURCE_AT],
    [JUMP_IF_EQUAL, 0, 3, bytes.readUInt32BE(0)],
    [LOAD_HALF, 0, 0, SOURCE_AT + 4],
    [JUMP_IF_EQUAL, 0, 1, bytes.readUInt16BE(4)],
    [RETURN, 0, 0, PASS],
    [RETURN, 0, 0, DROP],
  ];
  const code = Buffer.alloc(program.length * INSTRUCTION_BYTES);
  for (const [index, [operation, jumpTrue, jumpFalse, k]] of program.entries()) {
    const at = index * INSTRUCTION_BYTES;
    code.writeUInt16LE(operation, at);
    code.writeUInt8(jumpTrue, at + 2);
    code.writeUInt8(jumpFalse, at + 3);
    code.writeUInt32LE(k, at + 4);
  }
  return code;
}

/**
 * Sets the ingress filter of the link. Replaces an existing one.
 * @param filter classic BPF @throws NetlinkError ENOENT if the kernel lacks sch_ingress or cls_bpf
 */
export function setIngressFilter(socket: NetlinkSocket, ifindex: number, filter: Buffer): void {
  addClsact(socket, ifindex);
  const message = newFilter(ifindex, NLM_F_REPLACE, (options) => {
    options.u16(TCA_BPF_OPS_LEN, filter.length / INSTRUCTION_BYTES).bytes(TCA_BPF_OPS, filter);
  });
  socket.request({ message, name: `put filter on link ${ifindex}` });
}

/** Returns the link's ingress filter, as set by `setIngressFilter`; undefined: none. */
export function findIngressFilter(socket: NetlinkSocket, ifindex: number): Buffer | undefined {
  const build = () => ({
    message: new MessageWriter(
      RTM_GETTFILTER,
      NLM_F_REQUEST | NLM_F_DUMP,
      tcmsg(ifindex, 0, PARENT_INGRESS, 0),
    ),
    name: `list filters of link ${ifindex}`,
  });
  for (const { payload } of socket.dump(build)) {
    const attributes = new NetlinkAttributes(payload, TCMSG_BYTES);
    const isFirst = payload.readUInt32LE(16) === FIRST_OF_ALL_PROTOCOLS;
    const filter = attributes.nested(TCA_OPTIONS)?.bytes(TCA_BPF_OPS);
    if (isFirst && filter !== undefined) return filter;
  }
  return undefined;
}

/** @throws NetlinkError */
export function deleteIngressFilter(socket: NetlinkSocket, ifindex: number): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK;
  const filter = tcmsg(ifindex, FIRST_HANDLE, PARENT_INGRESS, FIRST_OF_ALL_PROTOCOLS);
  const message = new MessageWriter(RTM_DELTFILTER, flags, filter).string(TCA_KIND, "bpf");
  socket.request({ message, name: `delete filter of link ${ifindex}` });
}

/** Returns the frames that ingress filters dropped, by link index. Omits links without filters. */
export function listIngressDrops(socket: NetlinkSocket): ReadonlyMap<number, number> {
  const build = () => ({
    message: new MessageWriter(RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, tcmsg(0, 0, 0, 0)),
    name: "list queueing disciplines",
  });
  const drops = new Map<number, number>();
  for (const { payload } of socket.dump(build)) {
    const attributes = new NetlinkAttributes(payload, TCMSG_BYTES);
    if (attributes.string(TCA_KIND) !== "clsact") continue;
    const queue = attributes.nested(TCA_STATS2)?.bytes(TCA_STATS_QUEUE);
    drops.set(ifindexOf(payload), queue?.readUInt32LE(DROPS_AT) ?? 0);
  }
  return drops;
}

function newFilter(
  ifindex: number,
  how: number,
  fill: (options: MessageWriter) => void,
): MessageWriter {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | how;
  const filter = tcmsg(ifindex, FIRST_HANDLE, PARENT_INGRESS, FIRST_OF_ALL_PROTOCOLS);
  return new MessageWriter(RTM_NEWTFILTER, flags, filter)
    .string(TCA_KIND, "bpf")
    .nested(TCA_OPTIONS, (options) => {
      fill(options);
      options.u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    });
}

/** Adds the clsact qdisc, which holds filters of both directions, if the link does not have it. @throws NetlinkError */
export function addClsact(socket: NetlinkSocket, ifindex: number): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  const qdisc = tcmsg(ifindex, HANDLE_CLSACT, PARENT_CLSACT, 0);
  const message = new MessageWriter(RTM_NEWQDISC, flags, qdisc).string(TCA_KIND, "clsact");
  unlessThere(() => socket.request({ message, name: `put clsact on link ${ifindex}` }));
}

/** Deletes the clsact qdisc and all its filters. @throws NetlinkError */
export function deleteClsact(socket: NetlinkSocket, ifindex: number): void {
  const qdisc = tcmsg(ifindex, HANDLE_CLSACT, PARENT_CLSACT, 0);
  const message = new MessageWriter(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, qdisc);
  socket.request({ message, name: `delete clsact of link ${ifindex}` });
}

function unlessThere(request: () => void): void {
  try {
    request();
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}
