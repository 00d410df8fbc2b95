/** The traffic class of datagrams with frames: configured in the tunnel, or copied from the frame (`dscp: Copy`). */
import { trafficClassOf } from "../offload/traffic-class.ts";
import type { PacketSession } from "./session.ts";

/** Returns the traffic class octet of the outer IP header for the frame from `at` to `end`. */
export function outerTrafficClass(
  view: DataView,
  { tunnel, isBare }: PacketSession,
  at: number,
  end: number,
): number {
  return tunnel.trafficClass >= 0 ? tunnel.trafficClass : trafficClassOf(view, at, end, isBare);
}
