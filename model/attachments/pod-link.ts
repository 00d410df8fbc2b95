/** Desired state of a link in a pod: as ADD configured it, with the pod's own changes since. */
import { carriesSame, isSameRoute, type Link, type LinkRoute } from "../plan.ts";
import type { Attachment, LostWhenLowered } from "./attachment.ts";

/**
 * Returns the desired state of a link that was left to the pod: the state that the pod has configured. The MTU follows
 * the session, unless the pod chose another, and the link follows the peer's circuit up and down. A replacement for the
 * link, such as one of another datapath, gets the same state. A replacement that carries IP datagrams instead of
 * Ethernet frames, or the reverse, is configured as by ADD.
 * @param wanted the link as ADD configures it
 * @param attachment without a device, or not complete: the link was not left to the pod yet
 * @param present the link as it is; undefined: missing, so it is created as by ADD
 */
export function asLeft(
  wanted: Link,
  { device, isComplete = true }: Pick<Attachment, "device" | "isComplete">,
  present: Link | undefined,
): Link {
  if (!device || present === undefined || present.netns !== wanted.netns) return wanted;
  if (present.isElsewhere) return { ...present, mac: wanted.mac, ...macField(wanted) };
  if (!carriesSame(present, wanted)) return wanted;
  // The datapath may have created another device, such as one without the fast path.
  if (!isComplete || present.index !== device.index) return wanted;
  const isRaised = wanted.up && device.isLowered;
  const { kept = wanted } = device;
  const { netns, name, mac, bridge } = present;
  const { addresses, routes } = lasting(present);
  const up = wanted.up ? isRaised || present.up : device.isLowered && present.up;
  const podHas = isRaised ? withOthers(kept.routes, routes) : routes;
  return {
    ...wanted,
    ...{ netns, name, mac, bridge },
    mtu: present.mtu === device.mtu ? wanted.mtu : present.mtu,
    up,
    addresses: isRaised ? [...new Set([...kept.addresses, ...addresses])] : addresses,
    // A link that is down has no routes.
    routes: up ? podRoutes(podHas, wanted) : [],
  };
}

const macField = ({ hasMac }: Link): Pick<Link, "hasMac"> =>
  hasMac === undefined ? {} : { hasMac };

/** Returns the settings that an interface loses if it is set down now. */
export function lostWhenLowered(link: Link): LostWhenLowered {
  const { addresses, routes } = lasting(link);
  return { addresses: addresses.filter((address) => address.includes(":")), routes };
}

/** Returns the addresses and routes that the kernel did not add by itself. */
function lasting({ addresses, transient = [], routes }: Link): LostWhenLowered {
  return {
    addresses: addresses.filter((address) => !transient.includes(address)),
    routes: routes.filter(({ isKernels }) => isKernels !== true),
  };
}

function withOthers(routes: readonly LinkRoute[], others: readonly LinkRoute[]): LinkRoute[] {
  const isThere = (other: LinkRoute) => routes.some((route) => isSameRoute(other, route));
  return [...routes, ...others.filter((other) => !isThere(other))];
}

/** Returns the routes in an order in which they can be added: the route to a gateway comes before routes via it. */
function podRoutes(routes: readonly LinkRoute[], added: Pick<Link, "routes">): LinkRoute[] {
  const isOfAdd = (route: LinkRoute) => added.routes.some((other) => isSameRoute(route, other));
  const marked = routes.map(
    (route): LinkRoute => (isOfAdd(route) ? route : { ...route, isPods: true }),
  );
  const onLink = marked.filter(({ gateway }) => gateway === null);
  return [...onLink, ...marked.filter(({ gateway }) => gateway !== null)];
}
