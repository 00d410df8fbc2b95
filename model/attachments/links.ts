/** The links that attachment modes are composed of. */
import { canonicalAddress, canonicalInterfaceAddress, canonicalNetwork } from "../../net/ip.ts";
import { type LinkKind, linkId } from "../link-label.ts";
import type { Link, LinkRoute } from "../plan.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import type { Layout } from "./mode.ts";
import { portName } from "./names.ts";
import { asLeft } from "./pod-link.ts";

/** The session's own device in the pod. */
export function deviceInPod(layout: Layout, device: Link, attachment: Attachment): Link {
  const { up, routes, ...rest } = inPod(layout, attachment);
  // Through what is down there are no routes.
  const wanted = { ...device, ...rest, up: up && device.up, routes: device.up ? routes : [] };
  return asLeft(wanted, attachment, layout.present.get(device.id));
}

/** The two ends of a veth pair between the node and the pod. @param bridge the id of what the port is a port of */
export function vethPair(
  layout: Layout,
  attachment: Attachment,
  bridge: string | null,
): { readonly port: Link; readonly pod: Link } {
  const key = attachmentKey(attachment);
  const podId = linkId.pod(key);
  const port: Link = {
    ...layout.blank,
    ...notDevice("port", linkId.port(key)),
    name: portName(attachment),
    mac: null,
    up: true,
    bridge,
  };
  const pod = { ...layout.blank, ...notDevice("pod", podId), ...inPod(layout, attachment) };
  return { port, pod: asLeft(pod, attachment, layout.present.get(podId)) };
}

/** A bridge on the node that is up. */
export function bridgeLink({ blank, session }: Layout, name: string, mac: string): Link {
  return { ...blank, ...notDevice("bridge", linkId.bridge(session.key)), name, mac, up: true };
}

/** Another kind of link than the session's own device. */
function notDevice(kind: LinkKind, id: string) {
  return { id, kind, datapath: null, label: id };
}

function inPod({ isSilent, blank }: Layout, attachment: Attachment) {
  const { netns, ifname, mac, addresses, routes } = attachment;
  return {
    ...(isSilent ? { isSilent } : {}),
    netns,
    name: ifname,
    mac: blank.hasMac === false ? null : mac,
    up: true,
    // As the kernel lists them: or else they would seem to be missing for ever.
    addresses: addresses.map(canonicalInterfaceAddress),
    routes: canonicalRoutes(routes),
  };
}

function canonicalRoutes(routes: readonly LinkRoute[]): LinkRoute[] {
  return routes.map(({ destination, gateway, ...rest }) => ({
    ...rest,
    destination: canonicalNetwork(destination),
    gateway: gateway === null ? null : canonicalAddress(gateway),
  }));
}
