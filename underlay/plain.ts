/** The node's own network: each packet leaves unchanged by the device of its route. */
import type { Network, Path, Underlay } from "./underlay.ts";

/** The MTU of Ethernet, if the route's device was just deleted. */
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
      // A route may have a smaller MTU, configured or learned by path MTU discovery.
      mtu: Math.min(route.mtu ?? linkMtu, linkMtu),
      overheadBytes: 0,
      isPlainEthernet: link?.isEthernet === true && link.up,
    };
  },
};
