/**
 * A tc filter that redirects all received frames of a link to another link: a classic BPF program that matches every
 * frame, and act_mirred (include/uapi/linux/tc_act/tc_mirred.h). The filter is deleted with the receiving link. If the
 * other link is deleted, frames are dropped.
 */
import { isErrno } from "../errno.ts";
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "./socket.ts";
import {
  addClsact,
  deleteClsact,
  PARENT_EGRESS,
  PARENT_INGRESS,
  RTM_DELTFILTER,
  RTM_GETTFILTER,
  RTM_NEWTFILTER,
  TCA_KIND,
  TCA_OPTIONS,
  TCMSG_BYTES,
  tcmsg,
} from "./traffic-control.ts";

const TCA_BPF_ACT = 1;
const TCA_BPF_OPS_LEN = 4;
const TCA_BPF_OPS = 5;
const TCA_BPF_FLAGS_GEN = 9;
/** Never in hardware: a program in a network card cannot reach the other link. */
const TCA_CLS_FLAGS_SKIP_HW = 1;
/** A BPF program that returns -1: it matches all frames. */
const ALL_FRAMES = Buffer.from([0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_ACT_COOKIE = 6;
/** struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex. */
const TCA_MIRRED_PARMS = 2;
const MIRRED_BYTES = 28;
const ACTION_AT = 8;
const EACTION_AT = 20;
const IFINDEX_AT = 24;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
const HANDLE = 1;
/** After an administrator's filters, which usually have low numbers. */
const PRIORITY = 700;
/** The priority, then ETH_P_ALL in network order. */
const PLACE = ((PRIORITY << 16) | 0x0300) >>> 0;

/** The maximum length of a redirection's cookie, in bytes. */
export const REDIRECTION_COOKIE_BYTES = 16;

export interface Redirection {
  /** The index of the link that sends the frames; 0: it was deleted. */
  readonly target: number;
  /** Up to REDIRECTION_COOKIE_BYTES that identify the owner. */
  readonly cookie: Buffer;
}

/** Returns the link's redirection at our priority, of any owner; undefined: none. @throws NetlinkError */
export function findRedirection(socket: NetlinkSocket, ifindex: number): Redirection | undefined {
  for (const payload of listFilters(socket, ifindex, PARENT_INGRESS)) {
    if (payload.readUInt32LE(16) !== PLACE) continue;
    const options = new NetlinkAttributes(payload, TCMSG_BYTES).nested(TCA_OPTIONS);
    const action = options?.nested(TCA_BPF_ACT)?.nested(1);
    const parameters = action?.nested(TCA_ACT_OPTIONS)?.bytes(TCA_MIRRED_PARMS);
    if (parameters === undefined || parameters.length < MIRRED_BYTES) continue;
    const cookie = Buffer.from(action?.bytes(TCA_ACT_COOKIE) ?? []);
    return { target: parameters.readUInt32LE(IFINDEX_AT), cookie };
  }
  return undefined;
}

/**
 * Redirects all received frames of the link. Replaces an existing redirection.
 * @throws NetlinkError, ENOENT if the kernel lacks sch_ingress, cls_bpf or act_mirred
 */
export function setRedirection(
  socket: NetlinkSocket,
  ifindex: number,
  { target, cookie }: Redirection,
): void {
  addClsact(socket, ifindex);
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  const parameters = Buffer.alloc(MIRRED_BYTES);
  parameters.writeInt32LE(TC_ACT_STOLEN, ACTION_AT);
  parameters.writeInt32LE(TCA_EGRESS_REDIR, EACTION_AT);
  parameters.writeUInt32LE(target, IFINDEX_AT);
  const message = new MessageWriter(
    RTM_NEWTFILTER,
    flags,
    tcmsg(ifindex, HANDLE, PARENT_INGRESS, PLACE),
  )
    .string(TCA_KIND, "bpf")
    .nested(TCA_OPTIONS, (options) => {
      options
        .u16(TCA_BPF_OPS_LEN, 1)
        .bytes(TCA_BPF_OPS, ALL_FRAMES)
        .u32(TCA_BPF_FLAGS_GEN, TCA_CLS_FLAGS_SKIP_HW)
        .nested(TCA_BPF_ACT, (actions) => {
          actions.nested(1, (action) => {
            action
              .string(TCA_ACT_KIND, "mirred")
              .nested(TCA_ACT_OPTIONS, (fields) => fields.bytes(TCA_MIRRED_PARMS, parameters))
              .bytes(TCA_ACT_COOKIE, cookie);
          });
        });
    });
  socket.request({ message, name: `redirect link ${ifindex} to link ${target}` });
}

/**
 * Deletes the link's redirection. Does nothing if there is none.
 * @param withClsact true: also deletes the clsact qdisc if it has no other filters
 * @throws NetlinkError
 */
export function deleteRedirection(
  socket: NetlinkSocket,
  ifindex: number,
  withClsact: boolean,
): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK;
  const filter = tcmsg(ifindex, HANDLE, PARENT_INGRESS, PLACE);
  const message = new MessageWriter(RTM_DELTFILTER, flags, filter).string(TCA_KIND, "bpf");
  try {
    socket.request({ message, name: `delete redirection of link ${ifindex}` });
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENODEV", "EINVAL")) throw error;
  }
  if (!withClsact) return;
  const parents = [PARENT_INGRESS, PARENT_EGRESS];
  if (parents.some((parent) => listFilters(socket, ifindex, parent).length > 0)) return;
  deleteClsact(socket, ifindex);
}

function listFilters(socket: NetlinkSocket, ifindex: number, parent: number): Buffer[] {
  const build = () => ({
    message: new MessageWriter(
      RTM_GETTFILTER,
      NLM_F_REQUEST | NLM_F_DUMP,
      tcmsg(ifindex, 0, parent, 0),
    ),
    name: `list filters of link ${ifindex}`,
  });
  return socket.dump(build).map(({ payload }) => payload);
}
