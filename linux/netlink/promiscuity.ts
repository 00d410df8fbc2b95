/** Promiscuity: a link also receives frames to other MAC addresses (IFF_PROMISC, include/uapi/linux/if.h). */
import { MessageWriter, NLM_F_ACK } from "./message.ts";
import { type NetlinkSocket, NLM_F_REQUEST } from "./socket.ts";

const RTM_NEWLINK = 16;
const IFINFOMSG_BYTES = 16;
const IFF_PROMISC = 0x100;

/** Sets whether a link is promiscuous. @throws NetlinkError */
export function setPromiscuous(socket: NetlinkSocket, index: number, on: boolean): void {
  const header = Buffer.alloc(IFINFOMSG_BYTES);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(on ? IFF_PROMISC : 0, 8);
  header.writeUInt32LE(IFF_PROMISC, 12);
  const message = new MessageWriter(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, header);
  socket.request({ message, name: `set promiscuity of link ${index}` });
}
