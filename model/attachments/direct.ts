/** Mode Direct: the session's own device is the interface of one pod. */
import { deviceInPod } from "./links.ts";
import type { AttachmentMode } from "./mode.ts";
import { stableMac } from "./names.ts";

export const direct = {
  name: "Direct",
  devices: ["TAP", "TUN"],
  deviceIn: "pod",
  secondPodRemedy: "set spec.attachment.mode: Bridge",
  macSpoofingAt: "device",
  // The next pod of a session gets the same address, which switches already know.
  podMac: (nodeName, { session }) => stableMac(nodeName, session),
  nodeLinks: () => [],
  wantedLinks(layout) {
    const { device, attachments } = layout;
    const [pod] = attachments;
    if (device === null || pod === undefined) return { links: [], pairs: [] };
    return { links: [deviceInPod(layout, device, pod)], pairs: [] };
  },
} as const satisfies AttachmentMode;
