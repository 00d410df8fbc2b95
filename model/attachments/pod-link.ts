/** A link in a pod, between what ADD made of it and what the pod has made of it since. */
import { carriesSame, isSameRoute, type Link, type LinkRoute } from "../plan.ts";
import type { Attachment, LostWhenLowered } from "./attachment.ts";

/**
 * Returns the wanted state of a link that was left to the pod: the state that the pod has given it. Two
 * things follow the session: the MTU, unless the pod chose another, and the state of the peer's circuit.
 * A link that replaces this one, such as one of the other datapath, is made like it; one that carries IP datagrams in
 * place of Ethernet frames, or the other way round, is made as ADD makes it.
 * @param wanted the link as ADD makes it
 * @param attachment without a device, or not complete: the link has not been left to the pod yet
 * @param present the link as it is; undefined: there is none, and it is made as ADD makes it
 */
export function asLeft(
  wanted: Link,
  { device, isComplete = true }: Pick<Attachment, "device" | "isComplete">,
  present: Link | undefined,
): Link {
  if (!device || present === undefined || present.netns !== wanted.netns) return wanted;
  if (present.isElsewhere) return { ...present, mac: wanted.mac, ...macField(wanted) };
  if (!carriesSame(present, wanted)) return wanted;
  // The datapath may have made another device, such as one that is not on the fast path.
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
    // Through what is down there are no routes.
    routes: up ? podRoutes(podHas, wanted) : [],
  };
}

const macField = ({ hasMac }: Link): Pick<Link, "hasMac"> =>
  hasMac === undefined ? {} : { hasMac };

/** Returns what an interface loses if it is set down now. */
export function lostWhenLowered(link: Link): LostWhenLowered {
  const { addresses, routes } = lasting(link);
  return { addresses: addresses.filter((address) => address.includes(":")), routes };
}

/** Returns the addresses and routes that the kernel does not give to the link by itself. */
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

/** Returns the routes in an order in which they can be added: a gateway needs a route to itself. */
function podRoutes(routes: readonly LinkRoute[], added: Pick<Link, "routes">): LinkRoute[] {
  const isOfAdd = (route: LinkRoute) => added.routes.some((other) => isSameRoute(route, other));
  const marked = routes.map(
    (route): LinkRoute => (isOfAdd(route) ? route : { ...route, isPods: true }),
  );
  const onLink = marked.filter(({ gateway }) => gateway === null);
  return [...onLink, ...marked.filter(({ gateway }) => gateway !== null)];
}
