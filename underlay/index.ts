/** The registry of underlays, and the one rule for the path of a tunnel. */
import { type LinkAddress, listAddresses } from "../linux/netlink/address.ts";
import { findLink, getLink, type LinkInfo } from "../linux/netlink/link.ts";
import { lookUpRoute } from "../linux/netlink/route.ts";
import type { NetlinkSocket } from "../linux/netlink/socket.ts";
import { addressKind, formatAddress, parseAddress, parseInterfaceAddress } from "../net/ip.ts";
import { plain } from "./plain.ts";
import type { Network, Path, Underlay } from "./underlay.ts";

/** The first that has a path to the remote carries the tunnel. The plain one has all paths. */
const UNDERLAYS: readonly Underlay[] = [plain];

/** A path as tunnels use it. */
export interface TunnelPath extends Pick<Path, "source" | "egress" | "isPlainEthernet"> {
  /** Bytes of the largest IP packet of the tunnel that its underlay carries unfragmented. */
  readonly mtu: number;
}

/** @throws NetlinkError, ENETUNREACH or EHOSTUNREACH where no path leads to the remote */
export function findPath(network: Network, remote: string, local?: string): TunnelPath {
  for (const underlay of UNDERLAYS) {
    const path = underlay.pathTo(network, remote, local);
    if (path === undefined) continue;
    const { source, egress, isPlainEthernet, mtu, overheadBytes } = path;
    return { source, egress, isPlainEthernet, mtu: mtu - overheadBytes };
  }
  throw new Error(`no underlay carries packets to ${remote}`);
}

/** The network of the socket's namespace. Each link is read once: for a short time only. */
export function readNetwork(socket: NetlinkSocket): Network {
  const links = new Map<number, LinkInfo>();
  return {
    route: (remote, local) => lookUpRoute(socket, remote, local),
    link(index) {
      const link = links.get(index) ?? getLink(socket, index);
      if (link !== undefined) links.set(index, link);
      return link;
    },
    linkNamed: (name) => findLink(socket, name),
  };
}

/** The paths and addresses of a node for one pass: what is read once stays as it was. */
export function nodePaths(socket: NetlinkSocket) {
  const network = readNetwork(socket);
  let addresses: LinkAddress[] | undefined;
  return {
    /** @throws NetlinkError as findPath does */
    route: (remote: string, local?: string): TunnelPath => findPath(network, remote, local),
    /** An address of the interface, of the family of `remote` and not link-local; undefined: it has none. */
    interfaceAddress(name: string, remote: string): string | undefined {
      const link = network.linkNamed(name);
      const length = parseAddress(remote)?.length;
      addresses ??= listAddresses(socket);
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
