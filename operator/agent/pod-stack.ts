/** Lists the addresses and routes of a network namespace. */
import { listAddresses } from "../../linux/netlink/address.ts";
import { listRoutes } from "../../linux/netlink/route.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Link, LinkRoute } from "../../model/plan.ts";

/** Reads all of the socket's namespace once. @returns what a link has, by the link's index */
export function listStack(
  socket: NetlinkSocket,
): (index: number) => Pick<Link, "addresses" | "routes"> {
  const addresses = Map.groupBy(listAddresses(socket), ({ link }) => link);
  const routes = Map.groupBy(listRoutes(socket), ({ link }) => link);
  return (index) => ({
    addresses: (addresses.get(index) ?? []).map(({ prefix }) => prefix),
    routes: (routes.get(index) ?? []).map(
      ({ destination, gateway, priority, table, mtu, advmss }): LinkRoute => ({
        destination,
        gateway: gateway ?? null,
        ...(priority === undefined ? {} : { priority }),
        ...(table === undefined ? {} : { table }),
        ...(mtu === undefined ? {} : { mtu }),
        ...(advmss === undefined ? {} : { advmss }),
      }),
    ),
  });
}
