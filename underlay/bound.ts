/**
 * The network that a socket has by the device that it is bound to: the tables of a VRF (Linux,
 * Documentation/networking/vrf.rst), or the one link on which link-local addresses mean something (RFC 4007).
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
    // A program at a link sees its datagrams, but not whose VRF they belong to: several may have the same addresses.
    return path === undefined ? undefined : { ...path, isPlainEthernet: false };
  },
};

/**
 * The device that the socket of a tunnel has to be bound to.
 * @param link the one that has the tunnel's local address
 * @returns null: none, the node's main tables lead to the remote
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

/** True if the address means something on one link alone. IPv4's such addresses are routed as all others. */
export function isLinkLocal(address: string): boolean {
  const bytes = parseAddress(address);
  return bytes !== undefined && addressKind(bytes) === "link-local";
}
