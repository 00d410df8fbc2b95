/** The registry of underlays, and the lookup of a tunnel's path. */
import { Errno, SystemError } from "../linux/errno.ts";
import { type LinkAddress, listAddresses } from "../linux/netlink/address.ts";
import { findLink, getLink, type LinkInfo } from "../linux/netlink/link.ts";
import { lookUpRoute } from "../linux/netlink/route.ts";
import type { NetlinkSocket } from "../linux/netlink/socket.ts";
import type { BoundDevice } from "../model/model.ts";
import { canonicalAddress, formatAddress, parseAddress, parseInterfaceAddress } from "../net/ip.ts";
import { bound, deviceToBind, isLinkLocal } from "./bound.ts";
import { plain } from "./plain.ts";
import type { Network, Path, Underlay } from "./underlay.ts";

/** The first underlay with a path to the remote is used. The plain one has all paths. */
const UNDERLAYS: readonly Underlay[] = [bound, plain];

/** A path as tunnels use it. */
export interface TunnelPath extends Pick<Path, "source" | "egress" | "type" | "isPlainEthernet"> {
  /** Bytes of the largest IP packet of the tunnel that its underlay forwards unfragmented. */
  readonly mtu: number;
}

/**
 * Returns the path of a tunnel.
 * @param device the index of the device to which the tunnel's socket is bound
 * @throws NetlinkError ENETUNREACH or EHOSTUNREACH if no path leads to the remote; SystemError EADDRNOTAVAIL if the
 * node does not have the local address
 */
export function findPath(
  network: TunnelNetwork,
  remote: string,
  local?: string,
  device?: number,
): TunnelPath {
  // The kernel answers a foreign address with EINVAL over IPv4, and over IPv6 with a route without a return path.
  if (local !== undefined && !network.isLocal(local, device)) {
    throw new SystemError(Errno.EADDRNOTAVAIL, "find the local address", local);
  }
  for (const underlay of UNDERLAYS) {
    const path = underlay.pathTo(network, remote, local, device);
    if (path === undefined) continue;
    const { source, egress, type, isPlainEthernet, mtu, overheadBytes } = path;
    return { source, egress, type, isPlainEthernet, mtu: mtu - overheadBytes };
  }
  throw new Error(`no underlay has a path to ${remote}`);
}

/** The node's network, and its local addresses. */
interface TunnelNetwork extends Network {
  /** True if sockets can be bound to the address. @param device the index of the device to which they are bound */
  isLocal(address: string, device?: number): boolean;
}

/** Returns the network of the socket's namespace. It caches links and local addresses: use it for a short time only. */
export function readNetwork(socket: NetlinkSocket): TunnelNetwork {
  const links = new Map<number, LinkInfo>();
  const locals = new Map<string, boolean>();
  const isLocal = (address: string, device?: number) => {
    try {
      return lookUpRoute(socket, address, undefined, device).type === "local";
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return false;
    }
  };
  return {
    route: (remote, local, device) => lookUpRoute(socket, remote, local, device),
    link(index) {
      const link = links.get(index) ?? getLink(socket, index);
      if (link !== undefined) links.set(index, link);
      return link;
    },
    linkNamed: (name) => findLink(socket, name),
    isLocal(address, device) {
      const key = `${address} ${device ?? ""}`;
      const known = locals.get(key) ?? isLocal(address, device);
      locals.set(key, known);
      return known;
    },
  };
}

/** The local end of a tunnel in a manifest: an address or an interface. */
export interface LocalEnd {
  readonly address?: string;
  readonly interface?: string;
}

/** Returns the paths and addresses of a node for one reconcile, cached once they are read. */
export function nodePaths(socket: NetlinkSocket) {
  const network = readNetwork(socket);
  let addresses: LinkAddress[] | undefined;
  let byAddress: Map<string | undefined, LinkAddress[]> | undefined;
  const linksOf = ({ interface: name, address = "" }: LocalEnd): LinkInfo[] => {
    if (name !== undefined) return [network.linkNamed(name)].filter((link) => link !== undefined);
    addresses ??= listAddresses(socket);
    byAddress ??= Map.groupBy(addresses, ({ prefix }) => textOf(prefix));
    const found = byAddress.get(canonicalAddress(address)) ?? [];
    return found.flatMap(({ link }) => network.link(link) ?? []);
  };
  return {
    /** @throws NetlinkError, SystemError as findPath does */
    route: (remote: string, local?: string, device?: BoundDevice): TunnelPath =>
      findPath(network, remote, local, device?.index),
    /** Returns an address of the interface with the family and scope of `remote`; undefined: it has none. */
    interfaceAddress(name: string, remote: string): string | undefined {
      const link = network.linkNamed(name);
      const length = parseAddress(remote)?.length;
      addresses ??= listAddresses(socket);
      for (const address of addresses) {
        if (address.link !== link?.index) continue;
        const bytes = parseInterfaceAddress(address.prefix)?.address;
        if (bytes === undefined || bytes.length !== length) continue;
        const text = formatAddress(bytes);
        if (isLinkLocal(text) !== isLinkLocal(remote)) continue;
        return text;
      }
      return undefined;
    },
    /**
     * Returns the device to which the tunnel's socket must be bound.
     * @returns null: none; undefined: no link has the local address, or the interface does not exist
     */
    deviceToBind(local: LocalEnd, remote: string): BoundDevice | null | undefined {
      const links = linksOf(local);
      const devices = links.map((link) => deviceToBind(network, link, remote));
      // If several links have the address, the main tables take precedence.
      if (devices.includes(null)) return null;
      const [device] = devices;
      return device && { name: device.name, index: device.index };
    },
  };
}

function textOf(prefix: string): string | undefined {
  const address = parseInterfaceAddress(prefix)?.address;
  return address === undefined ? undefined : formatAddress(address);
}
