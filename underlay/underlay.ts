/** An underlay is the network that forwards the IP packets of a tunnel to its remote. */
import type { LinkInfo } from "../linux/netlink/link.ts";
import type { RouteInfo, RouteType } from "../linux/netlink/route.ts";

/** The parts of the node's network that underlays use. */
export interface Network {
  /**
   * Returns the route of a packet to `remote`, from `local` if given.
   * @param device the index of the device to which the socket is bound
   * @throws NetlinkError ENETUNREACH or EHOSTUNREACH if there is no route
   */
  route(remote: string, local?: string, device?: number): RouteInfo;
  /** Returns the link with the index; undefined: it was deleted. */
  link(index: number): LinkInfo | undefined;
  /** Returns the link with the name; undefined: it does not exist. */
  linkNamed(name: string): LinkInfo | undefined;
}

/** The path of a tunnel, as its underlay describes it. */
export interface Path {
  /** The source address that the kernel would choose; undefined: it has none. */
  readonly source: string | undefined;
  /** The index of the device by which packets leave the node. */
  readonly egress: number;
  /** Bytes of the largest packet that leaves the node unfragmented. */
  readonly mtu: number;
  /** The type of the route to the remote. */
  readonly type: RouteType;
  /** Bytes that the underlay adds to each IP packet of the tunnel. */
  readonly overheadBytes: number;
  /**
   * True if the egress device sends and receives the tunnel's IP packets as plain Ethernet frames, so that BPF programs
   * can forward them.
   */
  readonly isPlainEthernet: boolean;
}

export interface Underlay {
  readonly name: string;
  /**
   * Returns the path to the remote.
   * @param device the index of the device to which the tunnel's socket is bound
   * @returns undefined: not this underlay's; the next one is asked
   * @throws NetlinkError as Network.route does
   */
  pathTo(network: Network, remote: string, local?: string, device?: number): Path | undefined;
}
