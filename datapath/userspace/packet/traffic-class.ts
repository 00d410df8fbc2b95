/** The traffic class of the datagrams that carry a session's frames: that of the tunnel, or the frame's own (`dscp: Copy`). */
import { trafficClassOf } from "../offload/traffic-class.ts";
import type { PacketSession } from "./session.ts";

/** @returns the octet for the outer IP header of the frame from `at` to `end` */
export function outerTrafficClass(
  view: DataView,
  { tunnel, isBare }: PacketSession,
  at: number,
  end: number,
): number {
  return tunnel.trafficClass >= 0 ? tunnel.trafficClass : trafficClassOf(view, at, end, isBare);
}
