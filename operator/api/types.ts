/** The objects of l2tp.dev/v1alpha1, as plain JSON. */
import { type KubeMeta, keyOfMeta, objectPath } from "../kube/object.ts";
import type { SessionSpec, SessionStatus, TunnelSpec, TunnelStatus } from "./generated.ts";

export type { SessionSpec, SessionStatus, TunnelSpec, TunnelStatus } from "./generated.ts";

export const API_VERSION = "l2tp.dev/v1alpha1";

/** Where an API server has them. */
export const TUNNELS = { apiVersion: API_VERSION, kind: "L2tpTunnel", plural: "l2tptunnels" };
export const SESSIONS = { apiVersion: API_VERSION, kind: "L2tpSession", plural: "l2tpsessions" };

export interface L2tpTunnel {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpTunnel";
  readonly metadata: KubeMeta;
  readonly spec: TunnelSpec;
  /** Only where an API server has it. */
  readonly status?: TunnelStatus;
}

export interface L2tpSession {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpSession";
  readonly metadata: KubeMeta & { readonly namespace: string };
  readonly spec: SessionSpec;
  /** Only where an API server has it. */
  readonly status?: SessionStatus;
}

export type L2tpObject = L2tpTunnel | L2tpSession;

export type L2tpStatus = TunnelStatus | SessionStatus;

/** As in metav1.Condition. */
export type Condition = NonNullable<TunnelStatus["conditions"]>[number];

export type CookieSpec = NonNullable<NonNullable<SessionSpec["cookies"]>["receive"]>;

export function keyOf({ metadata }: { readonly metadata: KubeMeta }): string {
  return keyOfMeta(metadata);
}

/** Where an API server has the object. */
export function pathOf({ kind, metadata }: L2tpObject): string {
  const resource = kind === "L2tpTunnel" ? TUNNELS : SESSIONS;
  return objectPath(resource, metadata.name, metadata.namespace);
}

/** Which object is meant: one of the same name that has come since is not. */
export function identityOf({ apiVersion, kind, metadata }: L2tpObject) {
  const { name, namespace, uid } = metadata;
  return { apiVersion, kind, metadata: { name, ...(namespace && { namespace }), uid } };
}

export function conditionOf(
  { status }: Pick<L2tpObject, "status">,
  type: string,
): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}
