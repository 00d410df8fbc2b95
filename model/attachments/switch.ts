/**
 * The session's frames go to another session of the node, and that one's to this: no pod has them. Devices stand on the
 * node, and only where the two datapaths need some to hand frames over.
 */
import type { AttachmentMode } from "./mode.ts";
import { stableMac } from "./names.ts";

export const switchMode = {
  name: "Switch",
  devices: ["TAP", "TUN"],
  deviceIn: "node",
  secondPodRemedy: null,
  whyNoPods: "its frames go to another session",
  macSpoofingAt: "port",
  podMac: (nodeName, { session }) => stableMac(nodeName, session),
  nodeLinks: () => [],
  wantedLinks: ({ device }) => ({ links: device === null ? [] : [device], pairs: [] }),
} as const satisfies AttachmentMode;
