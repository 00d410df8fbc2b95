/** Filters of what comes in at a link, which outlive who set them (tc(8), include/uapi/linux/pkt_{sched,cls}.h). */
import { isErrno } from "../sys/errno.ts";
import { MessageWriter, NLM_F_ACK } from "./message.ts";
import { type NetlinkSocket, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from "./socket.ts";

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const TCMSG_BYTES = 20;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
/** The program's result is what becomes of the frame. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const HANDLE_CLSACT = 0xffff_0000;
const PARENT_CLSACT = 0xffff_fff1;
const PARENT_INGRESS = 0xffff_fff2;
const FIRST_HANDLE = 1;
/** ETH_P_ALL in network order, behind the priority. */
const FIRST_OF_ALL_PROTOCOLS = (1 << 16) | 0x0300;

function tcmsg(ifindex: number, handle: number, parent: number, info: number): Buffer {
  const header = Buffer.alloc(TCMSG_BYTES);
  header.writeInt32LE(ifindex, 4);
  header.writeUInt32LE(handle, 8);
  header.writeUInt32LE(parent, 12);
  header.writeUInt32LE(info, 16);
  return header;
}

/**
 * What comes in at the link passes through a BPF program, behind those of tcx, until the link is gone. Nothing changes
 * where there is one.
 * @param program a descriptor, which may be closed afterwards @throws NetlinkError
 */
export function setIngressProgram(
  socket: NetlinkSocket,
  ifindex: number,
  program: number,
  name: string,
): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  const qdisc = tcmsg(ifindex, HANDLE_CLSACT, PARENT_CLSACT, 0);
  const message = new MessageWriter(RTM_NEWQDISC, flags, qdisc).string(TCA_KIND, "clsact");
  unlessThere(() => socket.request({ message, name: `put clsact on link ${ifindex}` }));
  const filter = tcmsg(ifindex, FIRST_HANDLE, PARENT_INGRESS, FIRST_OF_ALL_PROTOCOLS);
  const add = new MessageWriter(RTM_NEWTFILTER, flags, filter)
    .string(TCA_KIND, "bpf")
    .nested(TCA_OPTIONS, (options) => {
      options.u32(TCA_BPF_FD, program).string(TCA_BPF_NAME, name);
      options.u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    });
  unlessThere(() =>
    socket.request({ message: add, name: `put filter ${name} on link ${ifindex}` }),
  );
}

function unlessThere(request: () => void): void {
  try {
    request();
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}
