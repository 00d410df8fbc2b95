/** Records with each attachment which interface the agent handed over to the pod, and its settings then. */
import { deviceKind, traitsOf } from "../../datapath/registry/datapaths.ts";
import { sameData } from "../../l2tp/same-data.ts";
import {
  type Attachment,
  attachmentKey,
  type PodDevice,
} from "../../model/attachments/attachment.ts";
import { lostWhenLowered } from "../../model/attachments/pod-link.ts";
import { forwardedSession } from "../../model/datapath.ts";
import { linkId, parseLinkLabel } from "../../model/link-label.ts";
import type { Action, Desired, Link, Observed } from "../../model/plan.ts";
import type { Failures } from "../resolve/status.ts";
import type { AttachmentStore } from "./attachments.ts";
import { findLinkIn, isAlive } from "./pod-netns.ts";

/** An executed plan. */
interface Done {
  readonly desired: Desired;
  /** The state before the plan. */
  readonly observed: Observed;
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

export class PodDevices {
  readonly #store: AttachmentStore;
  /** The last seen state of kernel devices in pods, by the attachment's key. */
  readonly #lastSeen = new Map<string, Link>();

  constructor(store: AttachmentStore) {
    this.#store = store;
  }

  /** Records interfaces that an earlier version handed over without a record. @param links the present links */
  adopt(living: readonly Attachment[], links: readonly Link[]): void {
    for (const attachment of living) {
      if (attachment.device !== undefined) continue;
      const link = linkOf(attachment, new Map(links.map((each) => [each.id, each])));
      if (link?.index === undefined) continue;
      const { index, mtu } = link;
      const sessionId = parseLinkLabel(link.label)?.sessionId ?? 0;
      const isLowered = deviceKind(link.datapath)?.isSessions === true && !link.up;
      const device = { ...deviceOf(link), index, mtu, sessionId, isLowered };
      this.#store.putIfPossible({ ...attachment, device });
    }
  }

  /**
   * Returns the present links, and the last state of devices that the kernel deleted with their sessions: a replacement
   * gets the same settings. A pod cannot delete such a device itself.
   */
  known(living: readonly Attachment[], links: readonly Link[]): ReadonlyMap<string, Link> {
    const known = new Map(links.map((link) => [link.id, link]));
    for (const attachment of living) {
      const key = attachmentKey(attachment);
      const link = linkOf(attachment, known);
      const last = this.#lastSeen.get(key);
      if (!deviceKind(attachment.device?.datapath)?.isSessions) this.#lastSeen.delete(key);
      else if (link === undefined && last !== undefined) known.set(last.id, last);
      else if (link !== undefined && !link.isElsewhere) this.#lastSeen.set(key, link);
    }
    return known;
  }

  /** Forgets the devices of deleted attachments. */
  forget(living: readonly Attachment[]): void {
    const keys = new Set(living.map(attachmentKey));
    for (const key of this.#lastSeen.keys()) if (!keys.has(key)) this.#lastSeen.delete(key);
  }

  /** Records the interfaces that a plan created or changed. They belong to the pods from now on. */
  record(attachments: readonly Attachment[], done: Done): void {
    const wanted = new Map(done.desired.links.map((link) => [link.id, link]));
    const present = new Map(done.observed.links.map((link) => [link.id, link]));
    const sessionIds = new Map(
      done.desired.sessions.map((item) => [item.link, forwardedSession(item)?.sessionId]),
    );
    const touched = touchedLinks(done.actions);
    for (const attachment of attachments) {
      if (done.failures.has(`session ${attachment.session}`)) continue;
      const link = linkOf(attachment, wanted);
      if (link === undefined || link.isElsewhere) continue;
      const isKnown = attachment.device?.index === present.get(link.id)?.index;
      if (attachment.device && isKnown && !touched.has(link.id)) continue;
      const index = findLinkIn(attachment.netns, link.name)?.index;
      if (index === undefined) continue;
      const sessionId = sessionIds.get(link.id) ?? 0;
      // The kernel may have deleted the device with its session.
      const before = present.get(link.id) ?? this.#lastSeen.get(attachmentKey(attachment));
      const device = leftDevice(attachment.device, link, before, index, sessionId);
      if (sameData(device, attachment.device)) continue;
      this.#store.putIfPossible({ ...attachment, device });
    }
  }

  /** Clears the records of deleted pods whose sessions have kernel devices on the node again. */
  recordReturned({ desired, failures }: Done): void {
    const inKernel = desired.sessions.filter(
      ({ datapath }) => traitsOf(datapath).device.isSessions,
    );
    const keys = new Set(inKernel.map(({ session }) => session.key));
    for (const attachment of [...this.#store.all()]) {
      const { session, device } = attachment;
      if (!deviceKind(device?.datapath)?.isSessions || isAlive(attachment)) continue;
      if (!keys.has(session) || failures.has(`session ${session}`)) continue;
      this.#store.putIfPossible({ ...attachment, device: null });
    }
  }
}

/** Returns the kind: the session's own device, or the pod's end of a veth pair. */
const deviceOf = ({ datapath }: Link) =>
  datapath === null
    ? ({ kind: "pod", datapath } as const)
    : ({ kind: "pseudowire", datapath } as const);

/**
 * Returns the record of an interface that is handed over to its pod.
 * @param known the previous record; none: the interface was just created
 * @param link the link as the plan desired it
 * @param before the link before the plan, possibly still on the node
 */
export function leftDevice(
  known: PodDevice | null | undefined,
  link: Link,
  before: Link | undefined,
  index: number,
  sessionId: number,
): PodDevice {
  const inPod = before?.netns === link.netns ? before : undefined;
  const isPodsMtu = known && inPod !== undefined && inPod.mtu !== known.mtu;
  const wasLowered = known?.isLowered === true;
  const isLowered = !link.up && (wasLowered || inPod?.up !== false);
  const lost = wasLowered ? known.kept : inPod && lostWhenLowered(inPod);
  return {
    ...deviceOf(link),
    index,
    sessionId,
    mtu: isPodsMtu ? known.mtu : link.mtu,
    isLowered,
    ...(isLowered && lost !== undefined ? { kept: lost } : {}),
  };
}

/** Returns the link of an attachment in its pod. */
export function linkOf(attachment: Attachment, links: ReadonlyMap<string, Link>): Link | undefined {
  const ids = [linkId.pod(attachmentKey(attachment)), linkId.pseudowire(attachment.session)];
  return ids.map((id) => links.get(id)).find((link) => link?.netns === attachment.netns);
}

/** Returns the IDs of the links that a plan creates or changes. */
function touchedLinks(actions: readonly Action[]): ReadonlySet<string> {
  return new Set(
    actions.flatMap((action) => {
      if (action.do === "createPair") return [action.port.id, action.pod.id];
      return "link" in action && typeof action.link === "string" ? [action.link] : [];
    }),
  );
}
