/** Keeps, with each attachment, the MTU that its pod was given: while the pod is there, it does not follow the path. */
import { sameData } from "../../l2tp/same-data.ts";
import {
  type Attachment,
  attachmentKey,
  type GivenMtu,
} from "../../model/attachments/attachment.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import type { HeldMtu } from "../resolve/session-mtu.ts";
import type { AttachmentStore } from "./attachments.ts";

/** The record for a pod that attaches to the session now. */
export function givenMtu({ object, pathMtu }: ResolvedSession): GivenMtu {
  return { pathMtu, specMtu: object.spec.mtu ?? null };
}

/** The MTUs of sessions by key. @param living attachments whose pods are there: the first of a session counts */
export function heldMtus(living: readonly Attachment[]): ReadonlyMap<string, HeldMtu> {
  const held = new Map<string, HeldMtu>();
  for (const { session, leaving, mtu, device } of living) {
    if (leaving || held.has(session)) continue;
    held.set(session, { given: mtu ?? null, deviceMtu: device?.mtu ?? null });
  }
  return held;
}

/** Writes down what the sessions have now: spec.mtu may have changed. */
export function recordMtus(
  store: AttachmentStore,
  living: readonly Attachment[],
  sessions: ReadonlyMap<string, ResolvedSession>,
): void {
  for (const { session, ...rest } of living) {
    const resolved = sessions.get(session);
    const attachment = store.get(attachmentKey(rest));
    if (resolved === undefined || attachment === undefined || attachment.leaving) continue;
    const mtu = givenMtu(resolved);
    if (!sameData(mtu, attachment.mtu)) store.putIfPossible({ ...attachment, mtu });
  }
}
