/** Lists the addresses and routes of a network namespace. */
import { listAddresses } from "../../datapath/netlink/address.ts";
import { listRoutes } from "../../datapath/netlink/route.ts";
import type { NetlinkSocket } from "../../datapath/netlink/socket.ts";
import type { Link, LinkRoute } from "../../l2tp/plan.ts";

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
