/** An underlay is the network that carries the IP packets of a tunnel to its remote. */
import type { LinkInfo } from "../linux/netlink/link.ts";
import type { RouteInfo, RouteType } from "../linux/netlink/route.ts";

/** The node's network, as far as underlays may ask. */
export interface Network {
  /**
   * The route that a packet to `remote` takes, from `local` where it is given.
   * @param device the index of the device that the socket is bound to
   * @throws NetlinkError, ENETUNREACH or EHOSTUNREACH where there is none
   */
  route(remote: string, local?: string, device?: number): RouteInfo;
  /** The link of that index; undefined: it is gone. */
  link(index: number): LinkInfo | undefined;
  /** The link of that name; undefined: there is none. */
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
  /** The kind of the remote as this node sees it. */
  readonly type: RouteType;
  /** Bytes that the underlay adds to each IP packet of the tunnel. */
  readonly overheadBytes: number;
  /**
   * Whether the tunnel's IP packets are the Ethernet frames of the egress device as they are: then BPF programs may
   * send them there, and take those that arrive.
   */
  readonly isPlainEthernet: boolean;
}

export interface Underlay {
  readonly name: string;
  /**
   * The path to the remote.
   * @param device the index of the device that the tunnel's socket is bound to
   * @returns undefined: another underlay carries the packets
   * @throws NetlinkError as Network.route does
   */
  pathTo(network: Network, remote: string, local?: string, device?: number): Path | undefined;
}
