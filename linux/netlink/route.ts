/** Routes through rtnetlink (include/uapi/linux/rtnetlink.h). */
import { formatAddress, formatPrefix, networkOf, parseAddress, parsePrefix } from "../../net/ip.ts";
import { Errno, isErrno, SystemError } from "../errno.ts";
import { AF_INET, AF_INET6 } from "../socket.ts";
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
} from "./socket.ts";

const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RTMSG_BYTES = 12;
const RTM_TYPE_AT = 7;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
export const RT_TABLE_MAIN = 254;
const RT_TABLE_LOCAL = 255;
const RTPROT_REDIRECT = 1;
const RTPROT_KERNEL = 2;
const RTPROT_STATIC = 4;
const RTPROT_RA = 9;
const RTNH_F_ONLINK = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

/** Names of the route types RTN_* that lead to an address. All others are "other". */
const ROUTE_TYPES = {
  [RTN_UNICAST]: "unicast",
  2: "local",
  3: "broadcast",
  4: "anycast",
  5: "multicast",
} as const;

/** The type of a route: to another host, to an address of the node, or to a group. */
export type RouteType = (typeof ROUTE_TYPES)[keyof typeof ROUTE_TYPES] | "other";

interface RtMessage {
  readonly family: number;
  readonly destinationBits: number;
  readonly sourceBits?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
}

function rtmsg(fields: RtMessage): Buffer {
  const header = Buffer.alloc(RTMSG_BYTES);
  header.writeUInt8(fields.family, 0);
  header.writeUInt8(fields.destinationBits, 1);
  header.writeUInt8(fields.sourceBits ?? 0, 2);
  header.writeUInt8(fields.table ?? 0, 4);
  header.writeUInt8(fields.protocol ?? 0, 5);
  header.writeUInt8(fields.scope ?? 0, 6);
  header.writeUInt8(fields.type ?? 0, RTM_TYPE_AT);
  header.writeUInt32LE(fields.flags ?? 0, 8);
  return header;
}

const familyOf = (address: Uint8Array): number => (address.length === 4 ? AF_INET : AF_INET6);

export interface RouteInfo {
  /** The index of its output link. */
  readonly link: number;
  /** The source address that the kernel would choose. */
  readonly source: string | undefined;
  /** The route's MTU, configured or learned by path MTU discovery; undefined: the link's. */
  readonly mtu: number | undefined;
  readonly type: RouteType;
}

/**
 * Returns the route of a datagram to `destination`, from `source` if given.
 * @param device the index of the device to which the socket is bound; a VRF has its own tables
 * @throws NetlinkError ENETUNREACH or EHOSTUNREACH if there is no route
 */
export function lookUpRoute(
  socket: NetlinkSocket,
  destination: string,
  source?: string,
  device?: number,
): RouteInfo {
  const to = requireAddress(destination);
  const from = source === undefined ? undefined : requireAddress(source);
  const header = rtmsg({
    family: familyOf(to),
    destinationBits: to.length * 8,
    sourceBits: (from?.length ?? 0) * 8,
  });
  const message = new MessageWriter(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_ACK, header);
  message.bytes(RTA_DST, to);
  if (from !== undefined) message.bytes(RTA_SRC, from);
  if (device !== undefined) message.u32(RTA_OIF, device);
  const [reply] = socket.request({ message, name: `look up the route to ${destination}` });
  if (reply === undefined) throw new TypeError(`empty reply for the route to ${destination}`);
  const attributes = new NetlinkAttributes(reply.payload, RTMSG_BYTES);
  const chosen = attributes.bytes(RTA_PREFSRC);
  return {
    link: attributes.u32(RTA_OIF) ?? 0,
    source: chosen === undefined ? undefined : formatAddress(chosen),
    mtu: attributes.nested(RTA_METRICS)?.u32(RTAX_MTU),
    type: routeType(reply.payload.readUInt8(RTM_TYPE_AT)),
  };
}

function routeType(number: number): RouteType {
  return number in ROUTE_TYPES ? ROUTE_TYPES[number as keyof typeof ROUTE_TYPES] : "other";
}

export interface NewRoute {
  /** "192.0.2.0/24", "0.0.0.0/0". */
  readonly destination: string;
  /** Undefined: the destination is on the link. */
  readonly gateway?: string | undefined;
  /** The metric; undefined: the kernel's default. */
  readonly priority?: number | undefined;
  /** Undefined: the main table. */
  readonly table?: number | undefined;
  /** Scope number of rtnetlink(7); undefined: universe with a gateway, link without one. */
  readonly scope?: number | undefined;
  /** Bytes; undefined: the link's MTU. */
  readonly mtu?: number | undefined;
  /** Bytes; undefined: derived from the MTU. */
  readonly advmss?: number | undefined;
  /** The preferred source address; undefined: the kernel chooses. */
  readonly source?: string | undefined;
  /** The gateway is on the link, even if no address of the link matches it. */
  readonly isOnLink?: true | undefined;
  readonly link: number;
}

export interface KnownRoute extends NewRoute {
  /** The kernel added it: for an address, or from a router advertisement or redirect. */
  readonly isKernels?: true | undefined;
}

/**
 * Adds a route. Does nothing if the link already has it.
 * @throws NetlinkError; SystemError EEXIST if another link has a route with this destination, table and metric
 */
export function addRoute(socket: NetlinkSocket, route: NewRoute): void {
  const prefix = parsePrefix(route.destination);
  if (prefix === undefined) {
    throw new TypeError(`${JSON.stringify(route.destination)} is not ADDRESS/LENGTH`);
  }
  const gateway = route.gateway === undefined ? undefined : requireAddress(route.gateway);
  const { table = RT_TABLE_MAIN, mtu, advmss } = route;
  const header = rtmsg({
    family: familyOf(prefix.address),
    destinationBits: prefix.length,
    // RTA_TABLE has the numbers that do not fit the header's byte.
    table: table > 255 ? 0 : table,
    protocol: RTPROT_STATIC,
    scope: route.scope ?? (gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE),
    type: RTN_UNICAST,
    flags: route.isOnLink === true ? RTNH_F_ONLINK : 0,
  });
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  // The kernel rejects destinations with host bits.
  const destination = networkOf(prefix);
  const message = new MessageWriter(RTM_NEWROUTE, flags, header)
    .bytes(RTA_DST, destination.address)
    .u32(RTA_OIF, route.link)
    .u32(RTA_TABLE, table);
  if (gateway !== undefined) message.bytes(RTA_GATEWAY, gateway);
  if (route.source !== undefined) message.bytes(RTA_PREFSRC, requireAddress(route.source));
  if (route.priority !== undefined) message.u32(RTA_PRIORITY, route.priority);
  if (mtu !== undefined || advmss !== undefined) {
    message.nested(RTA_METRICS, (metrics) => {
      if (mtu !== undefined) metrics.u32(RTAX_MTU, mtu);
      if (advmss !== undefined) metrics.u32(RTAX_ADVMSS, advmss);
    });
  }
  const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
  const name = `add route ${route.destination}${via}`;
  try {
    socket.request({ message, name });
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    const text = formatPrefix(destination);
    const isOwn = listRoutes(socket).some(
      (known) =>
        known.link === route.link &&
        known.destination === text &&
        (known.table ?? RT_TABLE_MAIN) === table,
    );
    if (isOwn) return;
    throw new SystemError(Errno.EEXIST, name, "another interface has this route");
  }
}

/** Returns the routes with an output link, of all tables except the local one. */
export function listRoutes(socket: NetlinkSocket): KnownRoute[] {
  const build = (family: number) => () => ({
    name: "list routes",
    message: new MessageWriter(
      RTM_GETROUTE,
      NLM_F_REQUEST | NLM_F_DUMP,
      rtmsg({ family, destinationBits: 0 }),
    ),
  });
  return [AF_INET, AF_INET6].flatMap((family) =>
    socket.dump(build(family)).flatMap(({ payload }) => parseRoute(family, payload) ?? []),
  );
}

/** Returns undefined for a route without a single output link, or in the local table. */
function parseRoute(family: number, payload: Buffer): KnownRoute | undefined {
  const attributes = new NetlinkAttributes(payload, RTMSG_BYTES);
  const table = attributes.u32(RTA_TABLE) ?? payload.readUInt8(4);
  const link = attributes.u32(RTA_OIF);
  if (link === undefined || table === RT_TABLE_LOCAL) return undefined;
  const address = attributes.bytes(RTA_DST) ?? new Uint8Array(family === AF_INET ? 4 : 16);
  const metrics = attributes.nested(RTA_METRICS);
  const text = (attribute: number) => {
    const bytes = attributes.bytes(attribute);
    return bytes === undefined ? undefined : formatAddress(bytes);
  };
  const isOnLink = (payload.readUInt32LE(8) & RTNH_F_ONLINK) !== 0;
  return {
    destination: formatPrefix({ address, length: payload.readUInt8(1) }),
    gateway: text(RTA_GATEWAY),
    priority: attributes.u32(RTA_PRIORITY),
    table: table === RT_TABLE_MAIN ? undefined : table,
    mtu: metrics?.u32(RTAX_MTU),
    advmss: metrics?.u32(RTAX_ADVMSS),
    scope: family === AF_INET ? payload.readUInt8(6) : undefined,
    source: text(RTA_PREFSRC),
    isOnLink: isOnLink || undefined,
    isKernels: KERNELS.includes(payload.readUInt8(5)) || undefined,
    link,
  };
}

/** Protocols of routes that only the kernel adds. */
const KERNELS: readonly number[] = [RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA];

function requireAddress(text: string): Uint8Array {
  const bytes = parseAddress(text);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(text)} is not an IP address`);
  return bytes;
}
