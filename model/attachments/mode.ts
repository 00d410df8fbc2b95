/**
 * The interface of an attachment mode, which the rest of the project uses instead of mode names. A mode is one file in
 * this folder and one line in index.ts. Reasons: docs/adr/0030-pseudowire-types-and-attachments.md.
 */
import type { Session } from "../model.ts";
import type { Link, PortPair } from "../plan.ts";
import type { PseudowireDevice } from "../pseudowires/index.ts";
import type { Attachment } from "./attachment.ts";
import type { NodeMode } from "./node-interface.ts";

/** Existing links of the node and its pods, by ID. */
export type PresentLinks = ReadonlyMap<string, Link>;

/** A session with its attached pods. */
export interface Layout {
  readonly session: Pick<Session, "key" | "sessionId">;
  readonly nodeName: string;
  /** A template for links of the session: on the node, down, with the session's MTU and MAC address. */
  readonly blank: Link;
  /** The session's own device on the node, without a pod; null: it has none now. */
  readonly device: Link | null;
  /** At least one, in order of attachment. */
  readonly attachments: readonly Attachment[];
  /** True if the pods' interfaces send nothing by themselves when they go up (spec.attachment.announce: false). */
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
  /** Kinds of devices that it can attach to pods; empty: it is for types without devices. */
  readonly devices: readonly PseudowireDevice["kind"][];
  /**
   * Place of the session's own device while a pod is attached. The status names this device. In a pod it is the pod's
   * interface.
   */
  readonly deviceIn: "pod" | "node";
  /** The remedy for a second pod, if only one pod can attach; null: any number of pods can attach. */
  readonly secondPodRemedy: string | null;
  /** The reason why pods cannot attach, as the end of a sentence. Absent: pods can attach. */
  readonly whyNoPods?: string;
  /**
   * Place of the source MAC filter (spec.attachment.macSpoofing): the session's own device, filtered by the datapath,
   * or the pod's port on the node (portName), filtered by the agent.
   */
  readonly macSpoofingAt: "device" | "port";
  /** Returns the MAC address of a pod's interface, unless the pod asks for one. */
  podMac(nodeName: string, pod: Pick<Attachment, "session" | "containerId" | "ifname">): string;
  /** Returns the names of the node's links for the pod, which the CNI result lists before the pod's interface. */
  nodeLinks(
    session: Pick<Session, "sessionId">,
    pod: Pick<Attachment, "containerId" | "ifname">,
  ): readonly string[];
  /** Returns the desired links of the session and its pods, including the session's own device. */
  wantedLinks(layout: Layout): WantedLinks;
  /** Present if the mode connects the session to a node interface. */
  readonly onNode?: NodeMode;
}
