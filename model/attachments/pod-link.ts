/** A link in a pod, between what ADD made of it and what the pod has made of it since. */
import { carriesSame, type Link } from "../plan.ts";
import type { Attachment } from "./attachment.ts";

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
  const { netns, name, mac, bridge } = present;
  return {
    ...wanted,
    ...{ netns, name, mac, bridge },
    mtu: present.mtu === device.mtu ? wanted.mtu : present.mtu,
    up: wanted.up ? isRaised || present.up : device.isLowered && present.up,
    // An interface that goes down loses its routes, and its IPv6 addresses.
    addresses: isRaised ? [...wanted.addresses, ...present.addresses] : present.addresses,
    routes: isRaised ? wanted.routes : present.routes,
  };
}

const macField = ({ hasMac }: Link): Pick<Link, "hasMac"> =>
  hasMac === undefined ? {} : { hasMac };
