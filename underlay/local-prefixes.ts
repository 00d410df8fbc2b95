/**
 * Prefixes whose addresses are all the node's, for keyed tunnels: each has a local route, so that no interface needs the
 * addresses. The routes bear a mark, so an agent finds its own after a restart.
 */
import { isErrno } from "../linux/errno.ts";
import { addLocalRoute, deleteLocalRoute, listLocalRoutes } from "../linux/netlink/local-route.ts";
import { listRoutes } from "../linux/netlink/route.ts";
import type { NetlinkSocket } from "../linux/netlink/socket.ts";
import { formatPrefix, networkOf, parsePrefix } from "../net/ip.ts";

/** The number of a route's protocol, which says who has added it (rtnetlink(7)): that of L2TP over IP. */
const PROTOCOL = 115;

/**
 * Adds the routes that are missing, and deletes those of ours that are not wanted.
 * @param wanted in canonical form
 * @returns why a prefix has no route, by the prefix
 * @throws NetlinkError where the routes cannot be listed
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

/** A local route goes before all others: it would take the addresses of other hosts. */
function add(socket: NetlinkSocket, prefix: string, destinations: readonly string[]) {
  const inside = destinations.find((destination) => contains(prefix, destination));
  if (inside !== undefined) return `the node has a route to ${inside}, which is in it`;
  try {
    addLocalRoute(socket, prefix, PROTOCOL);
    return null;
  } catch (error) {
    if (isErrno(error, "ENETDOWN")) return "the loopback device lo is down";
    return error instanceof Error ? error.message : String(error);
  }
}

/** Destinations of IPv6 routes, of all tables but the local one, and not of the loopback device. */
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
