/** Findings about frames that are too large for the device, the path, the peer, or a datagram. */
import { IPV6_MIN_MTU } from "../../../net/headers.ts";
import { counted, deviceMtu, error, type Fault, type SessionFinding, warning } from "./picture.ts";

export const oversize: SessionFinding = (of) => {
  const { rxOversize } = of.grown;
  if (rxOversize === 0) return null;
  const finding = `dropped ${counted(rxOversize, "received frame")} larger than the MTU ${deviceMtu(of)}`;
  const remedy = "the peer's MTU is larger: set the same MTU at both ends (spec.mtu)";
  return error(finding, remedy);
};

export const mtuOfPath: SessionFinding = (of) => {
  const fitting = of.around.fittingMtu(of.state.session.key);
  const mtu = deviceMtu(of);
  if (fitting === null || mtu <= fitting) return null;
  const finding = `the MTU ${mtu} is too large for the path: large frames are fragmented`;
  const isTooSmall = fitting < IPV6_MIN_MTU;
  const without = isTooSmall ? `; below ${IPV6_MIN_MTU} pods have no IPv6` : "";
  const remedy = `fragments are slow, and a firewall may drop them: set spec.mtu to ${fitting} or less at both ends${without}`;
  return warning(finding, remedy);
};

export const mtuOfPeer: SessionFinding = (of) => {
  const peerMtu = of.state.control?.established?.peerMtu ?? null;
  const mtu = deviceMtu(of);
  if (peerMtu === null || mtu <= peerMtu) return null;
  const finding = `the MTU is ${mtu}, the peer's is ${peerMtu}: the peer drops larger frames`;
  return warning(finding, `set spec.mtu: ${peerMtu}, or set the peer's MTU to ${mtu}`);
};

/** Explains EMSGSIZE: datagrams larger than IP can fragment. @param errno name of the error @returns null for others */
export function unsendable(errno: string, remote: string): Fault | null {
  if (errno !== "EMSGSIZE") return null;
  const finding = `sending to ${remote} fails: frames and headers exceed 65,535 bytes`;
  return error(finding, "set spec.mtu to 65000 or less at both ends");
}
