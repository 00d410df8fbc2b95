import { type LinkAddress, listAddresses } from "../../linux/netlink/address.ts";
import { type LinkInfo, listLinks } from "../../linux/netlink/link.ts";
import { lookUpRoute } from "../../linux/netlink/route.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import { addressKind, formatAddress, parseAddress, parseInterfaceAddress } from "../../net/ip.ts";
import type { Underlay } from "../resolve/resolve.ts";

/** The network below as the kernel knows it now. Links and addresses are read once, when needed. */
export function kernelUnderlay(socket: NetlinkSocket): Underlay {
  let links: LinkInfo[] | undefined;
  let addresses: LinkAddress[] | undefined;
  return {
    route(remote, local) {
      const route = lookUpRoute(socket, remote, local);
      links ??= listLinks(socket);
      const mtu = route.mtu ?? links.find(({ index }) => index === route.link)?.mtu ?? 1500;
      return { source: route.source, mtu };
    },
    interfaceAddress(name, remote) {
      links ??= listLinks(socket);
      addresses ??= listAddresses(socket);
      const link = links.find((candidate) => candidate.name === name);
      const length = parseAddress(remote)?.length;
      for (const address of addresses) {
        if (address.link !== link?.index) continue;
        const bytes = parseInterfaceAddress(address.prefix)?.address;
        if (bytes === undefined || bytes.length !== length) continue;
        if (addressKind(bytes) === "link-local") continue;
        return formatAddress(bytes);
      }
      return undefined;
    },
  };
}
