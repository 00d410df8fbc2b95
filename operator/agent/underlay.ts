import { type LinkAddress, listAddresses } from "../../datapath/netlink/address.ts";
import { type LinkInfo, listLinks } from "../../datapath/netlink/link.ts";
import { lookUpRoute } from "../../datapath/netlink/route.ts";
import type { NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { addressKind, formatAddress, parseAddress, parseInterfaceAddress } from "../../l2tp/ip.ts";
import type { Underlay } from "../convert/resolve.ts";

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
