/**
 * What a way of attaching pods to a session is: the only place where the rest of the project asks about one. A mode is
 * one file in this folder and one line in index.ts; docs/adr/0030-pseudowire-types-and-attachments.md has the reasons.
 */
import type { Session } from "../model.ts";
import type { Link, PortPair } from "../plan.ts";
import type { PseudowireDevice } from "../pseudowires/index.ts";
import type { Attachment } from "./attachment.ts";

/** The links of the node and its pods that exist, by their ids. */
export type PresentLinks = ReadonlyMap<string, Link>;

/** A session with the pods that are attached to it. */
export interface Layout {
  readonly session: Pick<Session, "key" | "sessionId">;
  readonly nodeName: string;
  /** The beginning of each link of the session: on the node, down, with the session's MTU and MAC address. */
  readonly blank: Link;
  /** The session's own device as it stands on the node without a pod; null: it has none now. */
  readonly device: Link | null;
  /** At least one; the first to attach is the first. */
  readonly attachments: readonly Attachment[];
  /** The pods' interfaces say nothing of their own when they go up (spec.attachment.announce). */
  readonly isSilent: boolean;
  readonly present: PresentLinks;
}

export interface WantedLinks {
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

export interface AttachmentMode {
  /** The value of spec.attachment.mode. */
  readonly name: string;
  /** Devices of pseudowire types that it can give to pods; none: it is for types without devices. */
  readonly devices: readonly PseudowireDevice["kind"][];
  /**
   * Where the session's own device is while a pod is attached. It is the interface that status names; in a pod, the
   * pod's interface is it.
   */
  readonly deviceIn: "pod" | "node";
  /** Null: any number of pods may attach. Else one, and a second one is told this. */
  readonly secondPodRemedy: string | null;
  /** Why no pod can attach, to end a sentence. Absent: pods can. */
  readonly whyNoPods?: string;
  /**
   * Where a pod that is held to its MAC address (spec.attachment.macSpoofing) is held: at the session's own device, by
   * the datapath, or at the pod's port on the node (portName), by the agent.
   */
  readonly macSpoofingAt: "device" | "port";
  /** The MAC address of a pod's interface, if the pod asks for none. */
  podMac(nodeName: string, pod: Pick<Attachment, "session" | "containerId" | "ifname">): string;
  /** The names of the links on the node that serve the pod, as the CNI result lists them before the pod's interface. */
  nodeLinks(
    session: Pick<Session, "sessionId">,
    pod: Pick<Attachment, "containerId" | "ifname">,
  ): readonly string[];
  /** The links that the session and its pods want, the session's own device among them. */
  wantedLinks(layout: Layout): WantedLinks;
}
