/** Lists the addresses and routes of a network namespace. */
import { listAddresses } from "../../linux/netlink/address.ts";
import { type KnownRoute, listRoutes } from "../../linux/netlink/route.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Link, LinkRoute } from "../../model/plan.ts";

/** Reads the socket's namespace once. @returns a function from a link's index to its addresses and routes */
export function listStack(
  socket: NetlinkSocket,
): (index: number) => Pick<Link, "addresses" | "transient" | "routes"> {
  const addresses = Map.groupBy(listAddresses(socket), ({ link }) => link);
  const routes = Map.groupBy(listRoutes(socket), ({ link }) => link);
  return (index) => {
    const ofLink = addresses.get(index) ?? [];
    const transient = ofLink.filter(({ isTransient }) => isTransient).map(({ prefix }) => prefix);
    return {
      addresses: ofLink.map(({ prefix }) => prefix),
      ...(transient.length === 0 ? {} : { transient }),
      routes: (routes.get(index) ?? []).map(describeRoute),
    };
  };
}

function describeRoute({ link: _, destination, gateway, ...rest }: KnownRoute): LinkRoute {
  const given = Object.entries(rest).filter(([, value]) => value !== undefined);
  return { destination, gateway: gateway ?? null, ...Object.fromEntries(given) };
}
