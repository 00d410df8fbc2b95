/** Attachments: the agent's records of pod interfaces, which the kernel does not store. */
import type { LinkRoute } from "../plan.ts";

/**
 * A pod's interface as the agent left it to the pod. It identifies the interface by properties that a pod cannot
 * write.
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
  /** Interface index in the pod's namespace, unique while the interface exists. */
  readonly index: number;
  /** The session ID for which it was created. */
  readonly sessionId: number;
  /** The MTU that the agent set last. A different MTU is the pod's choice. */
  readonly mtu: number;
  /** True if the agent set it down because the peer's circuit is down. */
  readonly isLowered: boolean;
  /** Settings that it lost when it was set down. Absent: not set down, or set down by an earlier version. */
  readonly kept?: LostWhenLowered;
}

/** Settings that an interface loses when it is set down: routes, and IPv6 addresses. */
export interface LostWhenLowered {
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
}

/** The source of an interface's MTU. It does not change with the path while the pod has the interface. */
export interface GivenMtu {
  /** The path MTU, in bytes; null: not known yet. */
  readonly pathMtu: number | null;
  /** spec.mtu, in bytes; null: omitted. */
  readonly specMtu: number | null;
}

export interface Attachment {
  readonly containerId: string;
  /** CNI_IFNAME of its ADD. */
  readonly cniIfname: string;
  readonly ifname: string;
  /** Path of the pod's network namespace, and an identity that distinguishes namespaces at the same path. */
  readonly netns: string;
  readonly netnsIdentity: string;
  /** The key of the L2tpSession. */
  readonly session: string;
  /** "namespace/name", or the container ID if the runtime passes no pod name. */
  readonly pod: string;
  /** The name of the CNI network configuration. */
  readonly network: string;
  readonly mac: string;
  /** "192.0.2.1/24", or "10.5.1.2 peer 10.5.1.1/32". */
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
  /** RFC 3339. */
  readonly createdAt: string;
  /** True while the interface is being deleted. */
  readonly leaving: boolean;
  /** IPAM's result, for the answer to a repeated ADD. */
  readonly ipam: unknown;
  /** False: ADD waits for IPAM's addresses. Absent: true. */
  readonly isComplete?: boolean;
  /** null: the interface is being created. Absent in files of earlier versions. */
  readonly device?: PodDevice | null;
  /** Absent in files of earlier versions. */
  readonly mtu?: GivenMtu;
}

/** Returns a key that is unique among the attachments of a node. */
export function attachmentKey(attachment: Pick<Attachment, "containerId" | "ifname">): string {
  return `${attachment.containerId}/${attachment.ifname}`;
}
