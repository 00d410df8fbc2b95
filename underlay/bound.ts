/**
 * The network of a socket that is bound to a device: the tables of a VRF (Linux, Documentation/networking/vrf.rst), or
 * the one link in whose scope link-local addresses are valid (RFC 4007).
 */
import type { LinkInfo } from "../linux/netlink/link.ts";
import { addressKind, parseAddress } from "../net/ip.ts";
import { plain } from "./plain.ts";
import type { Network, Path, Underlay } from "./underlay.ts";

export const bound: Underlay = {
  name: "bound",
  pathTo(network: Network, remote: string, local?: string, device?: number): Path | undefined {
    if (device === undefined) return undefined;
    const path = plain.pathTo(network, remote, local, device);
    // A BPF program at a link cannot determine the VRF of a datagram, and several VRFs may have the same addresses.
    return path === undefined ? undefined : { ...path, isPlainEthernet: false };
  },
};

/**
 * Returns the device to which a tunnel's socket must be bound.
 * @param link the link with the tunnel's local address
 * @returns null: none, the node's main tables have the route to the remote
 */
export function deviceToBind(
  network: Pick<Network, "link">,
  link: LinkInfo,
  remote: string,
): LinkInfo | null {
  if (isLinkLocal(remote)) return link;
  if (link.kind === VRF) return link;
  const master = link.master === 0 ? undefined : network.link(link.master);
  return master?.kind === VRF ? master : null;
}

const VRF = "vrf";

/** True if the address is valid on one link only. IPv4 link-local addresses are routed like all others. */
export function isLinkLocal(address: string): boolean {
  const bytes = parseAddress(address);
  return bytes !== undefined && addressKind(bytes) === "link-local";
}
