/**
 * An interface of the node has the session: the session's device is joined to it, becomes a port of it, or is itself
 * the interface. A pod that had the session before the mode was set keeps the device until it goes.
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
    podRemedy: "use another session, or set spec.attachment.mode to one of pods",
    wantedDevice(device, at) {
      switch (at?.state.kind) {
        case "own":
          // The node is a host on the pseudowire: it has a link-local address as on each other interface.
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
