/** Mode Bridge: a bridge on the node connects the session's device with the veth pairs of any number of pods. */
import type { Link, PortPair } from "../plan.ts";
import { bridgeLink, vethPair } from "./links.ts";
import type { AttachmentMode } from "./mode.ts";
import { portName, stableMac } from "./names.ts";

const bridgeName = (sessionId: number): string => `l2br-${sessionId}`;

export const bridge = {
  name: "Bridge",
  devices: ["TAP"],
  deviceIn: "node",
  secondPodRemedy: null,
  macSpoofingAt: "port",
  podMac: (nodeName, { session, containerId, ifname }) =>
    stableMac(nodeName, session, containerId, ifname),
  nodeLinks: ({ sessionId }, pod) => [bridgeName(sessionId), portName(pod)],
  wantedLinks(layout) {
    const { session, nodeName, device, attachments } = layout;
    const mac = stableMac(nodeName, session.key, "bridge");
    const joining = bridgeLink(layout, bridgeName(session.sessionId), mac);
    const links: Link[] = [joining];
    if (device !== null) links.push({ ...device, bridge: joining.id });
    const pairs: PortPair[] = [];
    for (const attachment of attachments) {
      const { port, pod } = vethPair(layout, attachment, joining.id);
      links.push(port, pod);
      pairs.push({ port: port.id, pod: pod.id });
    }
    return { links, pairs };
  },
} as const satisfies AttachmentMode;
