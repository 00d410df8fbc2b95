/** The traits of the datapath process. */
import { ReorderWitness } from "../../l2tp/order-witness.ts";
import { sameData } from "../../l2tp/same-data.ts";
import { type DatapathTraits, type DeviceKind, FORWARDS_AS_PUT } from "../../model/datapath.ts";

export const TAP_DEVICE: DeviceKind = {
  name: "Userspace",
  // On the fast path the device is one end of a veth pair.
  linkKinds: ["tun", "veth"],
  isSessions: false,
  sessionIdOf: () => undefined,
};

export const USERSPACE: DatapathTraits = {
  name: "Userspace",
  apiName: "Userspace",
  label: "the userspace datapath",
  device: TAP_DEVICE,
  // The largest session ID fits into 15 bytes.
  deviceName: ({ sessionId, deviceId }) =>
    deviceId === undefined ? `l2tp-${sessionId}` : `l2tk-${deviceId}`,
  // Moving a device to another namespace takes the kernel as long as deleting it.
  makesDevices: false,
  sessionsOutliveDevices: true,
  hasCarrier: true,
  acceptsPreviousCookie: true,
  filtersSourceMac: true,
  tunnelsNeedSessions: false,
  sessionsNeedTunnel: false,
  ports: "shared",
  needsProcess: true,
  needsKernelL2tp: false,
  tunnelDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "inPlace"),
  sessionDifference: (known, wanted) => (sameData(known, wanted) ? "none" : "inPlace"),
  serves: () => true,
  whyNot: () => null,
  whyNotPseudowire: () => null,
  witnessOrder: ({ sequencing, l2SpecificSublayer }) =>
    sequencing.receive && l2SpecificSublayer === "Default"
      ? new ReorderWitness(sequencing.reorderTimeoutMs)
      : null,
  ...FORWARDS_AS_PUT,
};
