/** Findings about frames that are too large: for the device, for the path, for the peer, for a datagram. Pure. */
import type { SessionState } from "../../datapath/datapath.ts";
import type { SessionCounters } from "../../model/model.ts";
import { IPV6_MIN_MTU } from "../../net/headers.ts";
import type { Finding } from "../agent-protocol.ts";

/** What a rule looks at. */
interface MtuCase {
  readonly state: Pick<SessionState, "session" | "control">;
  /** What the counters have grown by while the doctor looked. */
  readonly grown: Pick<SessionCounters, "rxOversize">;
  readonly around: {
    /** The largest MTU whose frames the path carries unfragmented; null: unknown. */
    fittingMtu(session: string): number | null;
    /** The session's device; null: not found. */
    device(session: string): { readonly mtu?: number } | null;
  };
}

type Found = Omit<Finding, "object">;
type MtuRule = (of: MtuCase) => Found | null;

/** The device's, in bytes: a datapath need not know it. */
const mtuOf = ({ state: { session }, around }: MtuCase): number =>
  around.device(session.key)?.mtu ?? session.mtu;

const oversizeRule: MtuRule = (of) => {
  const { rxOversize } = of.grown;
  if (rxOversize === 0) return null;
  const finding = `${rxOversize} frames were larger than the MTU, and were dropped`;
  const remedy = `the peer's MTU is above ours, ${mtuOf(of)}: set the same at both ends (here spec.mtu)`;
  return { severity: "error", finding, remedy };
};

const pathRule: MtuRule = (of) => {
  const fitting = of.around.fittingMtu(of.state.session.key);
  const mtu = mtuOf(of);
  if (fitting === null || mtu <= fitting) return null;
  const finding = `the MTU ${mtu} is too large for the path: larger frames cross it in fragments`;
  const isTooSmall = fitting < IPV6_MIN_MTU;
  const without = isTooSmall ? `; below ${IPV6_MIN_MTU} pods have no IPv6` : "";
  const remedy = `frames get lost if the underlay drops fragments, and are slower if it does not: set spec.mtu to ${fitting} or less at both ends${without}`;
  return { severity: "warning", finding, remedy };
};

const peerRule: MtuRule = (of) => {
  const peerMtu = of.state.control?.established?.peerMtu ?? null;
  const mtu = mtuOf(of);
  if (peerMtu === null || mtu <= peerMtu) return null;
  const finding = `the peer says that its MTU is ${peerMtu}; ours is ${mtu}, and it drops larger frames`;
  return { severity: "warning", finding, remedy: `set spec.mtu: ${peerMtu}, or the peer's MTU` };
};

export const MTU_RULES: readonly MtuRule[] = [oversizeRule, pathRule, peerRule];

/** Why datagrams do not go out, if they are larger than IP can carry in fragments. @param errno by its name */
export function unsendable(errno: string, remote: string): Found | null {
  if (errno !== "EMSGSIZE") return null;
  const finding = `frames to ${remote} do not go out: with their headers they are above 65,535 bytes`;
  return { severity: "error", finding, remedy: "set spec.mtu to 65000 or less at both ends" };
}
