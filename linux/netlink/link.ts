/** Links of a network namespace through rtnetlink (rtnetlink(7), include/uapi/linux/if_link.h). */

import { setImmediate as nextTurn } from "node:timers/promises";
import { formatMac, parseMac } from "../../net/mac.ts";
import { type ErrnoName, isErrno } from "../errno.ts";
import { closeFd, O_CLOEXEC, O_RDONLY, openFd } from "../fd.ts";
import { AF_INET6 } from "../socket.ts";
import { type Message, MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  NETLINK_ROUTE,
  NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
} from "./socket.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFINFOMSG_BYTES = 16;
const IFF_UP = 0x1;
const IFF_PROMISC = 0x100;
const IFF_LOWER_UP = 0x1_0000;
const ARPHRD_ETHER = 1;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_NET_NS_FD = 28;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** "tun", "bridge", "veth", …; empty for hardware. */
  readonly kind: string;
  readonly mtu: number;
  /** "02:00:5e:00:53:01". */
  readonly mac: string;
  readonly up: boolean;
  /** The index of its master: the bridge or VRF that it is a port of; 0: none. */
  readonly master: number;
  readonly alias: string;
  /** True if its frames are Ethernet frames, unlike those of a loopback or tunnel device. */
  readonly isEthernet: boolean;
  /** A veth has the index of its peer device, in the peer's namespace. A VLAN or macvlan has its parent's index. */
  readonly peer: number;
  /** True if the link is up and has a carrier. */
  readonly isRunning: boolean;
  /** True if IFF_PROMISC is set, as by `ip link set promisc on`. */
  readonly isPromiscuous: boolean;
}

/** Settings of a link that one request can change. */
export interface LinkSettings {
  readonly name?: string;
  readonly mtu?: number;
  readonly mac?: string;
  readonly up?: boolean;
  /** 0 removes it from its bridge. */
  readonly master?: number;
  readonly alias?: string;
  /** The path of the namespace to move it to. */
  readonly netns?: string;
  /** False: the kernel adds no IPv6 link-local address when the link goes up. */
  readonly addressGeneration?: false;
}

/** Settings for the creation of a link. The kernel accepts alias and state only afterward. */
export type NewLink = Pick<LinkSettings, "mtu" | "mac" | "master"> & { readonly name: string };

function ifinfomsg(index: number, up?: boolean): Buffer {
  const header = Buffer.alloc(IFINFOMSG_BYTES);
  header.writeInt32LE(index, 4);
  if (up !== undefined) {
    header.writeUInt32LE(up ? IFF_UP : 0, 8);
    header.writeUInt32LE(IFF_UP, 12);
  }
  return header;
}

function parseLink({ payload }: Message): LinkInfo {
  const attributes = new NetlinkAttributes(payload, IFINFOMSG_BYTES);
  const flags = payload.readUInt32LE(8);
  return {
    index: payload.readInt32LE(4),
    name: attributes.string(IFLA_IFNAME) ?? "",
    kind: attributes.nested(IFLA_LINKINFO)?.string(IFLA_INFO_KIND) ?? "",
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    mac: formatMac(attributes.bytes(IFLA_ADDRESS) ?? Buffer.alloc(0)),
    up: (flags & IFF_UP) !== 0,
    master: attributes.u32(IFLA_MASTER) ?? 0,
    alias: attributes.string(IFLA_IFALIAS) ?? "",
    isEthernet: payload.readUInt16LE(2) === ARPHRD_ETHER,
    peer: attributes.u32(IFLA_LINK) ?? 0,
    isRunning: (flags & IFF_LOWER_UP) !== 0 && (flags & IFF_UP) !== 0,
    isPromiscuous: (flags & IFF_PROMISC) !== 0,
  };
}

/** Returns all links in the socket's namespace. */
export function listLinks(socket: NetlinkSocket): LinkInfo[] {
  const build = () => ({
    name: "list links",
    message: new MessageWriter(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, ifinfomsg(0)).u32(
      IFLA_EXT_MASK,
      RTEXT_FILTER_SKIP_STATS,
    ),
  });
  return socket.dump(build).map(parseLink);
}

/** Returns the link with the name; undefined: it does not exist. */
export function findLink(socket: NetlinkSocket, name: string): LinkInfo | undefined {
  return getLink(socket, 0, name);
}

/** Returns the link with the index, or with the name if the index is 0; undefined: it does not exist. */
export function getLink(socket: NetlinkSocket, index: number, name?: string): LinkInfo | undefined {
  const message = new MessageWriter(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, ifinfomsg(index));
  message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  if (name !== undefined) message.string(IFLA_IFNAME, name);
  const found = socket.find({ message, name: `get link ${name ?? index}` }, "ENODEV");
  return found === undefined ? undefined : parseLink(found);
}

/** Changes a link in one request. A move together with a rename is one step. */
export function setLink(socket: NetlinkSocket, index: number, change: LinkSettings): void {
  const netns = change.netns === undefined ? -1 : openFd(change.netns, O_RDONLY | O_CLOEXEC);
  try {
    const header = ifinfomsg(index, change.up);
    const message = new MessageWriter(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, header);
    writeChange(message, change);
    if (netns >= 0) message.u32(IFLA_NET_NS_FD, netns);
    socket.request({ message, name: `set link ${describe(index, change)}` });
  } finally {
    if (netns >= 0) closeFd(netns);
  }
}

function describe(index: number, change: LinkSettings): string {
  const fields = Object.entries(change).map(([field, value]) => `${field} ${value}`);
  return `${index}: ${fields.join(", ")}`;
}

function writeChange(message: MessageWriter, change: LinkSettings): void {
  if (change.name !== undefined) message.string(IFLA_IFNAME, change.name);
  if (change.mtu !== undefined) message.u32(IFLA_MTU, change.mtu);
  if (change.mac !== undefined) message.bytes(IFLA_ADDRESS, parseMac(change.mac));
  if (change.master !== undefined) message.u32(IFLA_MASTER, change.master);
  // An empty alias without a terminating zero removes the alias.
  if (change.alias !== undefined) message.bytes(IFLA_IFALIAS, Buffer.from(change.alias));
  if (change.addressGeneration === false) {
    message.nested(IFLA_AF_SPEC, (families) => {
      families.nested(AF_INET6, (inet6) => {
        inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
      });
    });
  }
}

/** @throws NetlinkError EEXIST if the name is in use */
export function createBridge(socket: NetlinkSocket, link: NewLink): void {
  const message = newLink(link).nested(IFLA_LINKINFO, (writer) => {
    writer.string(IFLA_INFO_KIND, "bridge");
  });
  socket.request({ message, name: `create bridge ${link.name}` });
}

/** Creates a veth pair with its other end in another namespace. */
export function createVeth(
  socket: NetlinkSocket,
  link: NewLink,
  peer: NewLink & { readonly netns: string },
): void {
  const netns = openFd(peer.netns, O_RDONLY | O_CLOEXEC);
  try {
    const message = newLink(link).nested(IFLA_LINKINFO, (info) => {
      info.string(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, (data) => {
        const fill = (writer: MessageWriter) => {
          writeChange(writer, peer);
          writer.u32(IFLA_NET_NS_FD, netns);
        };
        data.nested(VETH_INFO_PEER, fill, ifinfomsg(0));
      });
    });
    socket.request({ message, name: `create veth ${link.name} with peer ${peer.name}` });
  } finally {
    closeFd(netns);
  }
}

function newLink(link: NewLink): MessageWriter {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  const message = new MessageWriter(RTM_NEWLINK, flags, ifinfomsg(0));
  writeChange(message, link);
  return message;
}

/**
 * Deletes a link. Resolves when the link cannot be found any more, or did not exist. The kernel then cleans up for some
 * 15 ms (an RCU barrier: net/core/dev.c, netdev_run_todo), for which this does not wait.
 * @param socket a socket in the link's namespace, to look for the link
 * @param netns the path of that namespace; null: the process's own
 */
export async function deleteLink(
  socket: NetlinkSocket,
  netns: string | null,
  index: number,
): Promise<void> {
  const message = new MessageWriter(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, ifinfomsg(index));
  const name = `delete link ${index}`;
  const worker = new NetlinkSocket(NETLINK_ROUTE, netns);
  let settled = false;
  const deletion = worker
    .requestInBackground({ message, name })
    .then(() => null, unless("ENODEV"))
    .finally(() => {
      settled = true;
      worker.close();
    });
  while (!settled && getLink(socket, index) !== undefined) await nextTurn();
  if (!settled) return;
  const error = await deletion;
  if (error !== null) throw error;
}

/** As `deleteLink`, but also waits until the kernel has cleaned up. @throws NetlinkError */
export function deleteLinkNow(socket: NetlinkSocket, index: number): void {
  const message = new MessageWriter(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, ifinfomsg(index));
  socket.request({ message, name: `delete link ${index}` });
}

function unless(errno: ErrnoName) {
  return (error: unknown) => (isErrno(error, errno) ? null : error);
}
