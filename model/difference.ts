/** What it takes to make a tunnel or a session that is there what it should be. */
import { sameData } from "../l2tp/same-data.ts";
import type { Session, Tunnel } from "./model.ts";

export type Difference =
  | "none"
  /** It can be changed where it stands. */
  | "inPlace"
  /** It must go, and come anew. */
  | "anew";

/**
 * The userspace datapath changes everything in place, the kernel nothing of a tunnel; nor of the socket that it has been
 * given. It knows of no control connection.
 */
export function tunnelDifference(known: Tunnel, wanted: Tunnel): Difference {
  const { control: before, ...had } = known;
  const { control: after, ...wants } = wanted;
  const isKernels = known.datapath === "Kernel" && wanted.datapath === "Kernel";
  const isSame = sameData(had, wants);
  if (isSame && (isKernels || sameData(before, after))) return "none";
  if (known.datapath !== "Userspace" || wanted.datapath !== "Userspace") return "anew";
  const isHeld = known.handsOver === true || wanted.handsOver === true;
  return isHeld && !isSame ? "anew" : "inPlace";
}

/** The kernel counts timeouts in jiffies, of up to 10 ms, and rounds up. */
const JIFFY_MS = 10;

/**
 * The kernel changes a session's sequencing in place, and nothing else (l2tp_nl_cmd_session_modify). The
 * MTU is no matter of its: it is set on the device.
 */
export function kernelSessionDifference(known: Session, wanted: Session): Difference {
  const { sequencing: before, mtu: _, ...had } = known;
  const { sequencing: after, mtu: __, ...wants } = wanted;
  if (!sameData(had, wants)) return "anew";
  const excess = before.reorderTimeoutMs - after.reorderTimeoutMs;
  const sameTimeout = excess >= 0 && excess < (after.reorderTimeoutMs === 0 ? 1 : JIFFY_MS);
  const isSame = before.send === after.send && before.receive === after.receive && sameTimeout;
  return isSame ? "none" : "inPlace";
}
