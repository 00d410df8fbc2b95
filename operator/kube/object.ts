/** The common fields of the API server's objects, and paths of resources. */

/** An object of the API server, as JSON. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: KubeMeta;
}

/** The used fields of metav1.ObjectMeta. */
export interface KubeMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
}

/** A kind of object, and its path on the API server. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
}

const resource = (apiVersion: string, kind: string, plural: string): Resource => ({
  apiVersion,
  kind,
  plural,
});

export const NODES = resource("v1", "Node", "nodes");
export const NAMESPACES = resource("v1", "Namespace", "namespaces");
export const PODS = resource("v1", "Pod", "pods");
export const SECRETS = resource("v1", "Secret", "secrets");
export const EVENTS = resource("v1", "Event", "events");
export const CONFIG_MAPS = resource("v1", "ConfigMap", "configmaps");
export const LEASES = resource("coordination.k8s.io/v1", "Lease", "leases");
export const DAEMON_SETS = resource("apps/v1", "DaemonSet", "daemonsets");

/** Returns the path of a collection in a namespace; without a namespace, in all of them. */
export function collectionPath({ apiVersion, plural }: Resource, namespace?: string): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${inside}/${plural}`;
}

/** Returns the path of an object. */
export function objectPath(resource: Resource, name: string, namespace?: string): string {
  return `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`;
}

/** Returns "namespace/name", or the name of an object without a namespace. */
export function keyOfMeta({ namespace, name }: KubeMeta): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}
