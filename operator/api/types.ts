/** The objects of l2tp.dev/v1alpha1, as plain JSON. */
import type { SessionSpec, TunnelSpec } from "../../l2tp/spec.ts";

export const API_VERSION = "l2tp.dev/v1alpha1";

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly generation?: number;
}

export interface L2tpTunnel {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpTunnel";
  readonly metadata: ObjectMeta;
  readonly spec: TunnelSpec;
}

export interface L2tpSession {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpSession";
  readonly metadata: ObjectMeta & { readonly namespace: string };
  readonly spec: SessionSpec;
}

export type L2tpObject = L2tpTunnel | L2tpSession;

/** As in metav1.Condition. */
export interface Condition {
  readonly type: "Accepted" | "Programmed" | "Attached";
  readonly status: "True" | "False" | "Unknown";
  /** One word in CamelCase, for programs. */
  readonly reason: string;
  /** A sentence that says what to do. */
  readonly message: string;
  readonly observedGeneration?: number;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

export interface TunnelStatus {
  readonly nodeName: string;
  readonly localAddress?: string;
  readonly datapath?: "Kernel" | "Userspace";
  readonly tunnelId?: number;
  /** Of the underlay towards the remote. */
  readonly mtu?: number;
  readonly observedGeneration?: number;
  readonly conditions: readonly Condition[];
}

export interface SessionStatus {
  readonly sessionId?: number;
  /** The pseudowire's device, on the node or in the pod that it is attached to. */
  readonly interface?: string;
  readonly mtu?: number;
  readonly attachedTo: readonly { readonly pod: string; readonly interface: string }[];
  readonly observedGeneration?: number;
  readonly conditions: readonly Condition[];
}

export function keyOf({
  metadata: { namespace, name },
}: {
  readonly metadata: ObjectMeta;
}): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}
