/**
 * The session and another session of the node forward frames to each other, and pods cannot attach. A device exists on
 * the node only if the datapaths need it to forward frames to each other.
 */
import type { AttachmentMode } from "./mode.ts";
import { stableMac } from "./names.ts";

export const switchMode = {
  name: "Switch",
  devices: ["TAP", "TUN"],
  deviceIn: "node",
  secondPodRemedy: null,
  whyNoPods: "it forwards frames to another session",
  macSpoofingAt: "port",
  podMac: (nodeName, { session }) => stableMac(nodeName, session),
  nodeLinks: () => [],
  wantedLinks: ({ device }) => ({ links: device === null ? [] : [device], pairs: [] }),
} as const satisfies AttachmentMode;
