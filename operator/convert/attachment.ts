/** A pod's interface on a session, as CNI asked for it. The kernel cannot tell it; we keep it. */
import type { LinkRoute } from "../../l2tp/plan.ts";

export interface Attachment {
  readonly containerId: string;
  /** CNI_IFNAME of the ADD that made it. */
  readonly cniIfname: string;
  readonly ifname: string;
  /** The path of the pod's network namespace, and what tells it from others at the same path. */
  readonly netns: string;
  readonly netnsIdentity: string;
  /** The key of the L2tpSession. */
  readonly session: string;
  /** "namespace/name", or the container's id where the runtime names no pod. */
  readonly pod: string;
  /** The name of the CNI network configuration. */
  readonly network: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
  /** RFC 3339. */
  readonly createdAt: string;
  /** It is being taken away: wanted no more, but perhaps still there. */
  readonly leaving: boolean;
  /** IPAM's answer, to answer a repeated ADD from. */
  readonly ipam: unknown;
}

/** Unique among the attachments of a node. */
export function attachmentKey(attachment: Pick<Attachment, "containerId" | "ifname">): string {
  return `${attachment.containerId}/${attachment.ifname}`;
}
