/**
 * The session is connected to a node interface: its device is joined to the interface, is a port of the bridge, or is
 * the interface itself. A pod that attached before the mode was set keeps the device until the pod is deleted.
 */
import { direct } from "./direct.ts";
import type { AttachmentMode } from "./mode.ts";

export const hostInterface = {
  name: "Interface",
  devices: ["TAP", "TUN"],
  deviceIn: "node",
  secondPodRemedy: "use another session",
  macSpoofingAt: "port",
  podMac: direct.podMac,
  nodeLinks: () => [],
  wantedLinks: direct.wantedLinks,
  onNode: {
    podRemedy: "use another session, or set spec.attachment.mode: Direct or Bridge",
    wantedDevice(device, at) {
      switch (at?.state.kind) {
        case "own":
          // The node is a host on the pseudowire, so the interface has a link-local address.
          return { ...device, name: at.name, isSilent: false };
        case "port":
          return { ...device, bridge: at.state.bridge };
        case "joined":
          return device;
        default:
          return { ...device, up: false };
      }
    },
  },
} as const satisfies AttachmentMode;
