/** Watches the cluster's nodes: their addresses, and how long they have not been ready. */
import type { KubeClient } from "../kube/client.ts";
import type { KubeError } from "../kube/errors.ts";
import { collectionPath, type KubeObject, NODES } from "../kube/object.ts";
import { Reflector } from "../kube/reflector.ts";

/** The fields of a Node that the controller uses. */
export interface NodeObject extends KubeObject {
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Connection and callbacks of a NodeWatch. */
export interface NodeWatchOptions {
  readonly client: KubeClient;
  /** Called when the node is added, changed or deleted. */
  changed(name: string, readinessChanged: boolean): void;
  failed(error: KubeError): void;
}

/** Keeps the nodes in memory, with the start of their outages. */
export class NodeWatch {
  readonly reflector: Reflector<NodeObject>;
  /** Start of the outage (performance.now()) by the node's name. Includes deleted nodes. */
  readonly #notReadySince = new Map<string, number>();

  constructor({ client, changed, failed }: NodeWatchOptions) {
    this.reflector = new Reflector({
      client,
      failed,
      path: collectionPath(NODES),
      keep: keepOfNode,
      changed: (name) => changed(name, this.#note(name)),
    });
  }

  exists(name: string): boolean {
    return this.reflector.get(name) !== undefined;
  }

  /** @returns null if the node does not exist */
  internalAddresses(name: string): string[] | null {
    const node = this.reflector.get(name);
    return node === undefined ? null : internalAddresses(node);
  }

  /** Returns a performance.now() time; undefined: the node is ready, or has never existed. */
  notReadySince(name: string): number | undefined {
    return this.#notReadySince.get(name);
  }

  /** Forgets a deleted node for which no object waits. */
  forgetGone(name: string): void {
    if (!this.exists(name)) this.#notReadySince.delete(name);
  }

  #note(name: string): boolean {
    const node = this.reflector.get(name);
    const isReadyNow = node !== undefined && isReady(node);
    const wasReady = !this.#notReadySince.has(name);
    if (isReadyNow) this.#notReadySince.delete(name);
    else if (wasReady) this.#notReadySince.set(name, performance.now());
    return isReadyNow !== wasReady || node === undefined;
  }
}

/** Returns only the fields that the controller uses. A kubelet reports the others many times an hour. */
export function keepOfNode({ metadata, status }: NodeObject): NodeObject {
  const { name, uid, resourceVersion } = metadata;
  return {
    metadata: { name, ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) },
    status: {
      addresses: status?.addresses ?? [],
      conditions: (status?.conditions ?? [])
        .filter(({ type }) => type === "Ready")
        .map(({ type, status: value }) => ({ type, status: value })),
    },
  };
}

/** True if the node's condition Ready is True. */
export function isReady({ status }: NodeObject): boolean {
  const conditions = status?.conditions ?? [];
  return conditions.some(({ type, status: value }) => type === "Ready" && value === "True");
}

/** Returns the node's internal addresses, in the order of its status. */
export function internalAddresses({ status }: NodeObject): string[] {
  const internal = (status?.addresses ?? []).filter(({ type }) => type === "InternalIP");
  return internal.map(({ address }) => address);
}
