/** The traffic class of datagrams with frames: configured in the tunnel, or copied from the frame (dscp, ecn). */
import { trafficClassOf } from "../offload/traffic-class.ts";
import type { PacketSession } from "./session.ts";

/** Returns the traffic class octet of the outer IP header for the frame from `at` to `end`. */
export function outerTrafficClass(
  view: DataView,
  { tunnel, isBare }: PacketSession,
  at: number,
  end: number,
): number {
  const { trafficClass, copiedClassBits } = tunnel;
  if (copiedClassBits === 0) return trafficClass;
  return trafficClass | (trafficClassOf(view, at, end, isBare) & copiedClassBits);
}
