/** Links from which attachment modes are composed. */
import { canonicalAddress, canonicalInterfaceAddress, canonicalNetwork } from "../../net/ip.ts";
import { type LinkKind, linkId } from "../link-label.ts";
import type { Link, LinkRoute } from "../plan.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import type { Layout } from "./mode.ts";
import { portName } from "./names.ts";
import { asLeft } from "./pod-link.ts";

/** Returns the session's own device in the pod. */
export function deviceInPod(layout: Layout, device: Link, attachment: Attachment): Link {
  const { up, routes, ...rest } = inPod(layout, attachment);
  // A link that is down has no routes.
  const wanted = { ...device, ...rest, up: up && device.up, routes: device.up ? routes : [] };
  return asLeft(wanted, attachment, layout.present.get(device.id));
}

/** Returns the two ends of a veth pair between node and pod. @param bridge the ID of the port's bridge */
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

/** Returns a bridge on the node that is up. */
export function bridgeLink({ blank, session }: Layout, name: string, mac: string): Link {
  return { ...blank, ...notDevice("bridge", linkId.bridge(session.key)), name, mac, up: true };
}

/** Returns the identity of a link that is not the session's own device. */
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
    // In the kernel's spelling: otherwise they would always seem to be missing.
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
