/** Adapts IPAM's routes to the routes that a pod already has. */
import { listRoutes, type NewRoute } from "../../linux/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import type { LinkRoute } from "../../model/plan.ts";
import { canonicalNetwork } from "../../net/ip.ts";

/** Added to the metric of the pod's route; the kernel prefers the lowest metric. */
const METRIC_STEP = 100;

/**
 * Returns the routes with metrics that do not collide: a route to a destination that the pod reaches through another
 * interface gets a larger metric than the pod's route, unless the route has a metric.
 */
export function beside(
  { netns, device }: Pick<Attachment, "netns" | "device">,
  routes: readonly LinkRoute[],
): readonly LinkRoute[] {
  if (routes.length === 0) return routes;
  const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  let known: readonly NewRoute[];
  try {
    known = listRoutes(socket).filter(({ link }) => link !== device?.index);
  } finally {
    socket.close();
  }
  return routes.map((route) => {
    if (route.priority !== undefined) return route;
    const destination = canonicalNetwork(route.destination);
    const metrics = known
      .filter((other) => other.destination === destination && other.table === route.table)
      .map(({ priority = 0 }) => priority);
    return metrics.length === 0
      ? route
      : { ...route, priority: Math.max(...metrics) + METRIC_STEP };
  });
}
