/** A pod's interface on a session, as CNI asked for it. The kernel cannot tell it; we keep it. */
import type { LinkRoute } from "../plan.ts";

/**
 * A pod's interface as the agent left it. From then on the pod does with it what it likes; this tells
 * which interface it is, by nothing that a pod can write.
 */
export type PodDevice = OwnDevice | PodEnd;

/** The session's own device. */
interface OwnDevice extends LeftInterface {
  readonly kind: "pseudowire";
  /** The name of its kind (`DeviceKind.name`). */
  readonly datapath: string;
}

/** The pod's end of a veth pair to the session's bridge. */
interface PodEnd extends LeftInterface {
  readonly kind: "pod";
  readonly datapath: null;
}

interface LeftInterface {
  /** Interface index in the pod's namespace. No other link there gets it while this one exists. */
  readonly index: number;
  /** The session ID that it was made for. */
  readonly sessionId: number;
  /** The MTU that the agent set last. Another one is the pod's choice. */
  readonly mtu: number;
  /** The agent set it down, because the peer's circuit is down. */
  readonly isLowered: boolean;
  /** The settings that it lost when it was set down. Absent: it was not set down, or an earlier version did so. */
  readonly kept?: LostWhenLowered;
}

/** An interface that goes down loses its routes, and its IPv6 addresses. */
export interface LostWhenLowered {
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
}

/** The source of an interface's MTU. It stays while the pod has the interface, whatever becomes of the path. */
export interface GivenMtu {
  /** Bytes of the largest IP packet of the tunnel that its path carried unfragmented; null: none was known yet. */
  readonly pathMtu: number | null;
  /** spec.mtu, in bytes; null: it was left out. */
  readonly specMtu: number | null;
}

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
  /** "192.0.2.1/24", or "10.5.1.2 peer 10.5.1.1/32". */
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
  /** RFC 3339. */
  readonly createdAt: string;
  /** It is being taken away: wanted no more, but perhaps still there. */
  readonly leaving: boolean;
  /** IPAM's answer, to answer a repeated ADD from. */
  readonly ipam: unknown;
  /** False: ADD waits for IPAM's addresses. Absent: true. */
  readonly isComplete?: boolean;
  /** null: the interface is being made. Absent in files of versions that did not write it. */
  readonly device?: PodDevice | null;
  /** Absent in files of versions that did not write it. */
  readonly mtu?: GivenMtu;
}

/** Unique among the attachments of a node. */
export function attachmentKey(attachment: Pick<Attachment, "containerId" | "ifname">): string {
  return `${attachment.containerId}/${attachment.ifname}`;
}
