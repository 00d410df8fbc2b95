/** Frames that are too large: for the device, for the path, for the peer, for a datagram. */
import { IPV6_MIN_MTU } from "../../../net/headers.ts";
import { counted, deviceMtu, error, type Fault, type SessionFinding, warning } from "./picture.ts";

export const oversize: SessionFinding = (of) => {
  const { rxOversize } = of.grown;
  if (rxOversize === 0) return null;
  const finding = `${counted(rxOversize, "frame")} were larger than the MTU, and were dropped`;
  const remedy = `the peer's MTU is above ours, ${deviceMtu(of)}: set the same at both ends (here spec.mtu)`;
  return error(finding, remedy);
};

export const mtuOfPath: SessionFinding = (of) => {
  const fitting = of.around.fittingMtu(of.state.session.key);
  const mtu = deviceMtu(of);
  if (fitting === null || mtu <= fitting) return null;
  const finding = `the MTU ${mtu} is too large for the path: larger frames cross it in fragments`;
  const isTooSmall = fitting < IPV6_MIN_MTU;
  const without = isTooSmall ? `; below ${IPV6_MIN_MTU} pods have no IPv6` : "";
  const remedy = `frames get lost if the underlay drops fragments, and are slower if it does not: set spec.mtu to ${fitting} or less at both ends${without}`;
  return warning(finding, remedy);
};

export const mtuOfPeer: SessionFinding = (of) => {
  const peerMtu = of.state.control?.established?.peerMtu ?? null;
  const mtu = deviceMtu(of);
  if (peerMtu === null || mtu <= peerMtu) return null;
  const finding = `the peer says that its MTU is ${peerMtu}; ours is ${mtu}, and it drops larger frames`;
  return warning(finding, `set spec.mtu: ${peerMtu}, or the peer's MTU`);
};

/** Why datagrams do not go out, if they are larger than IP can carry in fragments. @param errno by its name */
export function unsendable(errno: string, remote: string): Fault | null {
  if (errno !== "EMSGSIZE") return null;
  const finding = `frames to ${remote} do not go out: with their headers they are above 65,535 bytes`;
  return error(finding, "set spec.mtu to 65000 or less at both ends");
}
