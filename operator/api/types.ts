/** The objects of l2tp.dev/v1alpha1, as plain JSON. */
import { type KubeMeta, keyOfMeta, objectPath } from "../kube/object.ts";
import type { SessionSpec, SessionStatus, TunnelSpec, TunnelStatus } from "./generated.ts";

export type { SessionSpec, SessionStatus, TunnelSpec, TunnelStatus } from "./generated.ts";

export const API_VERSION = "l2tp.dev/v1alpha1";

/** The resources of the API server. */
export const TUNNELS = { apiVersion: API_VERSION, kind: "L2tpTunnel", plural: "l2tptunnels" };
export const SESSIONS = { apiVersion: API_VERSION, kind: "L2tpSession", plural: "l2tpsessions" };

export interface L2tpTunnel {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpTunnel";
  readonly metadata: KubeMeta;
  readonly spec: TunnelSpec;
  /** Set only for objects of an API server. */
  readonly status?: TunnelStatus;
}

export interface L2tpSession {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: "L2tpSession";
  readonly metadata: KubeMeta & { readonly namespace: string };
  readonly spec: SessionSpec;
  /** Set only for objects of an API server. */
  readonly status?: SessionStatus;
}

export type L2tpObject = L2tpTunnel | L2tpSession;

export type L2tpStatus = TunnelStatus | SessionStatus;

/** A metav1.Condition. */
export type Condition = NonNullable<TunnelStatus["conditions"]>[number];

export type CookieSpec = NonNullable<NonNullable<SessionSpec["cookies"]>["receive"]>;

/** Returns "namespace/name", or the name of an object without a namespace. */
export function keyOf({ metadata }: { readonly metadata: KubeMeta }): string {
  return keyOfMeta(metadata);
}

/** Returns the object's path at an API server. */
export function pathOf({ kind, metadata }: L2tpObject): string {
  const resource = kind === "L2tpTunnel" ? TUNNELS : SESSIONS;
  return objectPath(resource, metadata.name, metadata.namespace);
}

/** Returns the identity of the object, with the UID: a later object of the same name is another one. */
export function identityOf({ apiVersion, kind, metadata }: L2tpObject) {
  const { name, namespace, uid } = metadata;
  return { apiVersion, kind, metadata: { name, ...(namespace && { namespace }), uid } };
}

/** Returns the object's condition of the type; undefined: its status has none. */
export function conditionOf(
  { status }: Pick<L2tpObject, "status">,
  type: string,
): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}
