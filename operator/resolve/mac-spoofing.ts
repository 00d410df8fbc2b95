/** Pods that are held to their MAC addresses (spec.attachment.macSpoofing): where their frames are checked. */
import type { Session } from "../../model/model.ts";
import { keyOf, type L2tpSession } from "../api/types.ts";
import type { Attachment } from "./attachment.ts";

type Asking = Pick<L2tpSession, "spec">;

/** Whether pods of the session are held to their addresses. */
export const refusesSpoofing = ({ spec }: Asking): boolean =>
  spec.attachment?.macSpoofing === "Refuse";

/** Whether the session's own device, which is in the pod, is held to the address. */
export const holdsDevice = (object: Asking): boolean =>
  refusesSpoofing(object) && (object.spec.attachment?.mode ?? "Direct") === "Direct";

/** The keys of sessions that some datapaths cannot hold to an address (`filtersSourceMac`), by their tunnels. */
export function sessionsHeldByProcess(
  sessions: Iterable<L2tpSession>,
): ReadonlyMap<string, string> {
  const held = new Map<string, string>();
  for (const object of sessions) {
    if (holdsDevice(object)) held.set(object.spec.tunnelRef.name, keyOf(object));
  }
  return held;
}

/** The session as the datapath is to hold it to the pod's address. */
export function heldToMac(
  session: Session,
  { object }: { readonly object: Asking },
  pod: Pick<Attachment, "mac"> | undefined,
): Session {
  if (pod === undefined || !holdsDevice(object)) return session;
  return { ...session, sourceMac: pod.mac };
}
