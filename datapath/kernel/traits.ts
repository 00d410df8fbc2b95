/** The traits of the kernel's L2TP. */
import { sameData } from "../../l2tp/same-data.ts";
import {
  type DatapathTraits,
  type DeviceKind,
  type Difference,
  FORWARDS_AS_PUT,
  type Host,
  type KernelSupport,
} from "../../model/datapath.ts";
import { featuresOf } from "../../model/features.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { kernelPart, type PseudowireType, whyNotInKernel } from "../../model/pseudowires/index.ts";
import { kernelDeviceName, parseKernelDeviceName } from "./device-name.ts";
import { KernelOrderWitness } from "./order-witness.ts";

export const KERNEL_DEVICE: DeviceKind = {
  name: "Kernel",
  linkKinds: [""],
  isSessions: true,
  sessionIdOf: (name) => parseKernelDeviceName(name)?.sessionId,
};

export const KERNEL: DatapathTraits = {
  name: "Kernel",
  apiName: "Kernel",
  label: "the kernel datapath",
  device: KERNEL_DEVICE,
  deviceName: kernelDeviceName,
  makesDevices: true,
  sessionsOutliveDevices: false,
  hasCarrier: false,
  // Netlink has one cookie for received frames: L2TP_ATTR_PEER_COOKIE.
  acceptsPreviousCookie: false,
  // The device is in the pod, and the kernel sends the pod's frames directly into the tunnel.
  filtersSourceMac: false,
  tunnelsNeedSessions: true,
  sessionsNeedTunnel: true,
  ports: "exclusive",
  needsProcess: false,
  needsKernelL2tp: true,
  // The kernel cannot change a tunnel.
  tunnelDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "replace"),
  sessionDifference: kernelSessionDifference,
  serves: (tunnel) => !needsSocket(tunnel),
  whyNot: (tunnel, host) => whyNotFeatures(tunnel) ?? whyNotSupported(tunnel, host),
  whyNotPseudowire,
  // The kernel checks each number, also if the session does not request it.
  witnessOrder: ({ sequencing, l2SpecificSublayer }) =>
    l2SpecificSublayer === "Default" ? new KernelOrderWitness(sequencing.reorderTimeoutMs) : null,
  ...FORWARDS_AS_PUT,
};

/**
 * True if the kernel cannot create the tunnel's socket: netlink has no attributes for a control connection, a device or
 * a DSCP (l2tp_nl_cmd_tunnel_create).
 */
export function needsSocket({ control, device, dscp }: Tunnel): boolean {
  return control !== undefined || device !== undefined || dscp !== undefined;
}

/** Returns why the kernel cannot have the tunnel: the kernel's L2TP supports no feature that a tunnel can request. */
export function whyNotFeatures(tunnel: Tunnel): string | null {
  // The kernel finds a session by its ID alone. Sessions of keyed tunnels may have the same ID.
  if (tunnel.keyed) return "a keyed tunnel requires the userspace datapath";
  if (tunnel.dscp === "Copy") return "dscp Copy requires the userspace datapath";
  if (tunnel.ecn) return "ecn requires the userspace datapath";
  const [feature] = featuresOf(tunnel);
  return feature === undefined ? null : `${feature.noun} requires the userspace datapath`;
}

/** Returns why the node's kernel does not support the tunnel's encapsulation; null: it does. */
export function whyNotSupported({ encapsulation, local }: Tunnel, { kernel }: Host): string | null {
  const family = local.address.includes(":") ? "IPv6" : "IPv4";
  return encapsulation === "UDP" ? kernel.UDP : kernel[family];
}

function whyNotPseudowire(type: PseudowireType, kernel?: KernelSupport): string | null {
  const why = whyNotInKernel(type);
  const isRewritten = kernelPart(type)?.tagRules !== undefined;
  return why ?? (isRewritten ? (kernel?.tags ?? null) : null);
}

/** The kernel rounds timeouts up to jiffies of at most 10 ms. */
const JIFFY_MS = 10;

/**
 * The kernel changes only a session's sequencing in place (l2tp_nl_cmd_session_modify). The MTU and the rules for VLAN
 * tags are set on the device.
 */
export function kernelSessionDifference(known: Session, wanted: Session): Difference {
  const { sequencing: before, ...had } = withoutDevice(known);
  const { sequencing: after, ...wants } = withoutDevice(wanted);
  if (!sameData(had, wants)) return "replace";
  const excess = before.reorderTimeoutMs - after.reorderTimeoutMs;
  const sameTimeout = excess >= 0 && excess < (after.reorderTimeoutMs === 0 ? 1 : JIFFY_MS);
  const isSame = before.send === after.send && before.receive === after.receive && sameTimeout;
  return isSame ? "none" : "inPlace";
}

/** Returns the session without the settings of its device. */
function withoutDevice({ mtu: _, vlan: __, switchTo: ___, ...session }: Session) {
  return session;
}
