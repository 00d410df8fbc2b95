/** Counters of links (struct rtnl_link_stats64, include/uapi/linux/if_link.h). */
import { type Message, MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import { type NetlinkSocket, NLM_F_DUMP, NLM_F_REQUEST } from "./socket.ts";

const RTM_GETLINK = 18;
const IFINFOMSG_BYTES = 16;
const IFLA_IFNAME = 3;
const IFLA_STATS64 = 23;
/** Offsets of 64-bit counters. */
const RX_BYTES_AT = 16;
const RX_ERRORS_AT = 32;

export interface LinkStatistics {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxErrors: number;
}

/** Returns the counters of the link with the index; undefined: the link does not exist. */
export function getLinkStatistics(
  socket: NetlinkSocket,
  index: number,
): LinkStatistics | undefined {
  const message = new MessageWriter(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, ifinfomsg(index));
  const found = socket.find({ message, name: `get statistics of link ${index}` }, "ENODEV");
  return found === undefined ? undefined : parse(found);
}

/** Returns the counters of all links in the socket's namespace. */
export function listLinkStatistics(socket: NetlinkSocket): LinkStatistics[] {
  const build = () => ({
    name: "list statistics of links",
    message: new MessageWriter(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, ifinfomsg(0)),
  });
  return socket.dump(build).map(parse);
}

function ifinfomsg(index: number): Buffer {
  const header = Buffer.alloc(IFINFOMSG_BYTES);
  header.writeInt32LE(index, 4);
  return header;
}

function parse({ payload }: Message): LinkStatistics {
  const attributes = new NetlinkAttributes(payload, IFINFOMSG_BYTES);
  const counters = attributes.bytes(IFLA_STATS64);
  const at = (offset: number) => Number(counters?.readBigUInt64LE(offset) ?? 0n);
  return {
    name: attributes.string(IFLA_IFNAME) ?? "",
    rxBytes: at(RX_BYTES_AT),
    rxErrors: at(RX_ERRORS_AT),
  };
}
