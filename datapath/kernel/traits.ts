/** The traits of the kernel's own L2TP. */
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
  label: "The kernel's L2TP",
  device: KERNEL_DEVICE,
  deviceName: kernelDeviceName,
  makesDevices: true,
  sessionsOutliveDevices: false,
  hasCarrier: false,
  // L2TP_ATTR_PEER_COOKIE is one.
  acceptsPreviousCookie: false,
  // A pod's device is in the pod, and what the pod sends goes straight to the tunnel.
  filtersSourceMac: false,
  tunnelsNeedSessions: true,
  sessionsNeedTunnel: true,
  ports: "exclusive",
  needsProcess: false,
  needsKernelL2tp: true,
  // The kernel changes nothing of a tunnel.
  tunnelDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "replace"),
  sessionDifference: kernelSessionDifference,
  serves: (tunnel) => !needsSocket(tunnel),
  whyNot: (tunnel, host) => whyNotFeatures(tunnel) ?? whyNotSupported(tunnel, host),
  whyNotPseudowire,
  // The kernel looks at each number, whether the session asks for that or not.
  witnessOrder: ({ sequencing, l2SpecificSublayer }) =>
    l2SpecificSublayer === "Default" ? new KernelOrderWitness(sequencing.reorderTimeoutMs) : null,
  ...FORWARDS_AS_PUT,
};

/**
 * True if the kernel cannot make the tunnel's socket: netlink has no attributes for a control connection, a device or a
 * DSCP (l2tp_nl_cmd_tunnel_create).
 */
export function needsSocket({ control, device, dscp }: Tunnel): boolean {
  return control !== undefined || device !== undefined || dscp !== undefined;
}

/** The kernel's L2TP has none of the features that a tunnel may ask for. */
export function whyNotFeatures(tunnel: Tunnel): string | null {
  if (tunnel.keyed)
    return "it finds a session by its ID alone, and in a keyed tunnel IDs may be equal";
  if (tunnel.dscp === "Copy") return "it copies no DSCP";
  const [feature] = featuresOf(tunnel);
  return feature === undefined
    ? null
    : `${feature.noun}, which it asks for, is the userspace datapath's`;
}

export function whyNotSupported({ encapsulation, local }: Tunnel, { kernel }: Host): string | null {
  const family = local.address.includes(":") ? "IPv6" : "IPv4";
  return encapsulation === "UDP" ? kernel.UDP : kernel[family];
}

function whyNotPseudowire(type: PseudowireType, kernel?: KernelSupport): string | null {
  const why = whyNotInKernel(type);
  const isRewritten = kernelPart(type)?.tagRules !== undefined;
  return why ?? (isRewritten ? (kernel?.tags ?? null) : null);
}

/** The kernel counts timeouts in jiffies, of up to 10 ms, and rounds up. */
const JIFFY_MS = 10;

/**
 * The kernel changes a session's sequencing in place, and nothing else (l2tp_nl_cmd_session_modify). The MTU and the
 * rules for VLAN tags are no matter of its: they are set on the device.
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

/** The session but for what is set on its device. */
function withoutDevice({ mtu: _, vlan: __, ...session }: Session) {
  return session;
}
