/**
 * Local prefixes of keyed tunnels. A local route for each prefix makes the node receive packets to all its addresses,
 * without an address on an interface. The routes have their own protocol number, so that a restarted agent finds them.
 */
import { isErrno } from "../linux/errno.ts";
import { addLocalRoute, deleteLocalRoute, listLocalRoutes } from "../linux/netlink/local-route.ts";
import { listRoutes } from "../linux/netlink/route.ts";
import type { NetlinkSocket } from "../linux/netlink/socket.ts";
import { formatPrefix, networkOf, parsePrefix } from "../net/ip.ts";

/** The origin of our routes (rtm_protocol, rtnetlink(7)): the IP protocol number of L2TP. */
const PROTOCOL = 115;

/**
 * Adds missing local routes, and deletes our local routes of other prefixes.
 * @param wanted prefixes in canonical form
 * @returns the reason for each prefix that has no route
 * @throws NetlinkError if the routes cannot be listed or deleted
 */
export function setLocalPrefixes(
  socket: NetlinkSocket,
  wanted: ReadonlySet<string>,
): ReadonlyMap<string, string> {
  const known = new Set(listLocalRoutes(socket, PROTOCOL));
  for (const prefix of known) {
    if (!wanted.has(prefix)) deleteLocalRoute(socket, prefix, PROTOCOL);
  }
  const missing = [...wanted].filter((prefix) => !known.has(prefix));
  const problems = new Map<string, string>();
  const destinations = missing.length === 0 ? [] : destinationsOf(socket);
  for (const prefix of missing) {
    const problem = add(socket, prefix, destinations);
    if (problem !== null) problems.set(prefix, problem);
  }
  return problems;
}

/**
 * Adds a local route. Rejects a prefix with other routes in it: the local route would override them.
 * @returns why the route was not added; null: it was added
 */
function add(socket: NetlinkSocket, prefix: string, destinations: readonly string[]) {
  const inside = destinations.find((destination) => contains(prefix, destination));
  if (inside !== undefined) return `the node has a route to ${inside}, which is inside the prefix`;
  try {
    addLocalRoute(socket, prefix, PROTOCOL);
    return null;
  } catch (error) {
    if (isErrno(error, "ENETDOWN")) return "the loopback device lo is down";
    return error instanceof Error ? error.message : String(error);
  }
}

/** Returns the destinations of IPv6 routes, except in the local table and on the loopback device. */
function destinationsOf(socket: NetlinkSocket): string[] {
  return listRoutes(socket).flatMap(({ destination, link }) =>
    link !== LOOPBACK && destination.includes(":") ? destination : [],
  );
}

const LOOPBACK = 1;

function contains(outer: string, inner: string): boolean {
  const [large, small] = [parsePrefix(outer), parsePrefix(inner)];
  if (large === undefined || small === undefined || small.length < large.length) return false;
  const cut = networkOf({ address: small.address, length: large.length });
  return formatPrefix(cut) === formatPrefix(networkOf(large));
}
