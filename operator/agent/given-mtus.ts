/** Records the MTU of each attached pod. While a pod is attached, its MTU does not follow the path. */
import { sameData } from "../../l2tp/same-data.ts";
import {
  type Attachment,
  attachmentKey,
  type GivenMtu,
} from "../../model/attachments/attachment.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import type { HeldMtu } from "../resolve/session-mtu.ts";
import type { AttachmentStore } from "./attachments.ts";

/** Returns the record for a pod that attaches now. @param isKnown false: the path is unknown, and the MTU a guess */
export function givenMtu({ object, pathMtu }: ResolvedSession, isKnown: boolean): GivenMtu {
  return { pathMtu: isKnown ? pathMtu : null, specMtu: object.spec.mtu ?? null };
}

/** Returns the MTUs of sessions by key. @param living attachments of existing pods; the first of a session counts */
export function heldMtus(living: readonly Attachment[]): ReadonlyMap<string, HeldMtu> {
  const held = new Map<string, HeldMtu>();
  for (const { session, leaving, mtu, device } of living) {
    if (leaving || held.has(session)) continue;
    held.set(session, { given: mtu ?? null, deviceMtu: device?.mtu ?? null });
  }
  return held;
}

/**
 * Saves the sessions' MTUs if the record is outdated: spec.mtu changed, the path became known, or an earlier version
 * left no record.
 */
export function recordMtus(
  store: AttachmentStore,
  living: readonly Attachment[],
  sessions: ReadonlyMap<string, ResolvedSession>,
  hasPath: (tunnel: string) => boolean,
): void {
  for (const { session, ...rest } of living) {
    const resolved = sessions.get(session);
    const attachment = store.get(attachmentKey(rest));
    if (resolved === undefined || attachment === undefined || attachment.leaving) continue;
    const { mtu: before } = attachment;
    const specMtu = resolved.object.spec.mtu ?? null;
    const isSettled = before !== undefined && before.pathMtu !== null;
    if (isSettled && before.specMtu === specMtu) continue;
    const mtu = givenMtu(resolved, before === undefined || hasPath(resolved.tunnel.name));
    if (!sameData(mtu, before)) store.putIfPossible({ ...attachment, mtu });
  }
}
