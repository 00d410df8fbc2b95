/** Local routes: the node receives packets to any address of an IPv6 prefix (ip-route(8): "local PREFIX dev lo"). */
import { canonicalNetwork, formatPrefix, networkOf, parsePrefix } from "../../net/ip.ts";
import { isErrno } from "../errno.ts";
import { AF_INET6 } from "../socket.ts";
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
} from "./socket.ts";

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTMSG_BYTES = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RT_TABLE_LOCAL = 255;
const RTN_LOCAL = 2;
/** The index of the loopback device, in each network namespace. */
const LOOPBACK = 1;

/** @param protocol the origin of the route (rtm_protocol, rtnetlink(7)) */
function rtmsg(bits: number, protocol: number): Buffer {
  const header = Buffer.alloc(RTMSG_BYTES);
  header.writeUInt8(AF_INET6, 0);
  header.writeUInt8(bits, 1);
  header.writeUInt8(RT_TABLE_LOCAL, 4);
  header.writeUInt8(protocol, 5);
  header.writeUInt8(RTN_LOCAL, 7);
  return header;
}

function request(socket: NetlinkSocket, kind: "add" | "delete", text: string, protocol: number) {
  const prefix = parsePrefix(text);
  if (prefix?.address.length !== 16) throw new TypeError(`${JSON.stringify(text)} is not IPv6`);
  const flags = NLM_F_REQUEST | NLM_F_ACK | (kind === "add" ? NLM_F_CREATE | NLM_F_EXCL : 0);
  const type = kind === "add" ? RTM_NEWROUTE : RTM_DELROUTE;
  const message = new MessageWriter(type, flags, rtmsg(prefix.length, protocol))
    .bytes(RTA_DST, networkOf(prefix).address)
    .u32(RTA_OIF, LOOPBACK);
  socket.request({ message, name: `${kind} local route ${text}` });
}

/** Adds a local route. Does nothing if the node has it. @throws NetlinkError, ENETDOWN if the device lo is down */
export function addLocalRoute(socket: NetlinkSocket, prefix: string, protocol: number): void {
  try {
    request(socket, "add", prefix, protocol);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

/** Deletes a local route. Does nothing if the node does not have it. @throws NetlinkError */
export function deleteLocalRoute(socket: NetlinkSocket, prefix: string, protocol: number): void {
  try {
    request(socket, "delete", prefix, protocol);
  } catch (error) {
    if (!isErrno(error, "ESRCH")) throw error;
  }
}

/** Returns the prefixes of the protocol's local routes. @throws NetlinkError */
export function listLocalRoutes(socket: NetlinkSocket, protocol: number): string[] {
  const build = () => ({
    name: "list local routes",
    // Kernels since 4.20 filter by the header; older kernels list all routes.
    message: new MessageWriter(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, rtmsg(0, protocol)),
  });
  return socket.dump(build).flatMap(({ payload }) => {
    const attributes = new NetlinkAttributes(payload, RTMSG_BYTES);
    const address = attributes.bytes(RTA_DST);
    const isLocal = payload.readUInt8(4) === RT_TABLE_LOCAL && payload.readUInt8(7) === RTN_LOCAL;
    if (!isLocal || payload.readUInt8(5) !== protocol || address === undefined) return [];
    return canonicalNetwork(formatPrefix({ address, length: payload.readUInt8(1) }));
  });
}
