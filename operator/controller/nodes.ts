/** The nodes of the cluster: their addresses, and since when they have not been ready. */
import type { KubeClient } from "../kube/client.ts";
import type { KubeError } from "../kube/errors.ts";
import { collectionPath, type KubeObject, NODES } from "../kube/object.ts";
import { Reflector } from "../kube/reflector.ts";

/** As much of a Node as matters here. */
export interface NodeObject extends KubeObject {
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export interface NodeWatchOptions {
  readonly client: KubeClient;
  /** The node has come, changed or gone. @param isTurned it is ready now and was not, or the reverse */
  changed(name: string, isTurned: boolean): void;
  failed(error: KubeError): void;
}

export class NodeWatch {
  readonly reflector: Reflector<NodeObject>;
  /** By name, by performance.now(): of those that are gone, too. */
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

  /** Null where there is no such node. */
  internalAddresses(name: string): string[] | null {
    const node = this.reflector.get(name);
    return node === undefined ? null : internalAddresses(node);
  }

  /** By performance.now(); undefined: it is ready, or has never been there. */
  notReadySince(name: string): number | undefined {
    return this.#notReadySince.get(name);
  }

  /** Nobody waits any more for a node that is gone. */
  forgetGone(name: string): void {
    if (!this.exists(name)) this.#notReadySince.delete(name);
  }

  #note(name: string): boolean {
    const node = this.reflector.get(name);
    const isWell = node !== undefined && isReady(node);
    const wasWell = !this.#notReadySince.has(name);
    if (isWell) this.#notReadySince.delete(name);
    else if (wasWell) this.#notReadySince.set(name, performance.now());
    return isWell !== wasWell || node === undefined;
  }
}

/** Drops what a kubelet reports many times an hour. */
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

export function isReady({ status }: NodeObject): boolean {
  const conditions = status?.conditions ?? [];
  return conditions.some(({ type, status: value }) => type === "Ready" && value === "True");
}

export function internalAddresses({ status }: NodeObject): string[] {
  const internal = (status?.addresses ?? []).filter(({ type }) => type === "InternalIP");
  return internal.map(({ address }) => address);
}
