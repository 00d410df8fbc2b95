/** The node's own network: each packet leaves as it is, by the device that the routing tables name. */
import type { Network, Path, Underlay } from "./underlay.ts";

/** Ethernet's, where the device of a route has just gone. */
const FALLBACK_MTU = 1500;

export const plain: Underlay = {
  name: "plain",
  pathTo(network: Network, remote: string, local?: string, device?: number): Path {
    const route = network.route(remote, local, device);
    const link = network.link(route.link);
    const linkMtu = link?.mtu ?? route.mtu ?? FALLBACK_MTU;
    return {
      source: route.source,
      egress: route.link,
      type: route.type,
      // A route may have a smaller one: a metric, or what path MTU discovery has learned.
      mtu: Math.min(route.mtu ?? linkMtu, linkMtu),
      overheadBytes: 0,
      isPlainEthernet: link?.isEthernet === true && link.up,
    };
  },
};
