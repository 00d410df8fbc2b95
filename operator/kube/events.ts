/** Records Events, for `kubectl describe` and `kubectl get events`. */
import { randomBytes } from "node:crypto";
import type { KubeClient } from "./client.ts";
import { collectionPath, EVENTS, type KubeMeta, objectPath } from "./object.ts";

/** The object of an Event. */
export interface Involved {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Pick<KubeMeta, "name" | "namespace" | "uid">;
}

interface Known {
  readonly name: string;
  readonly namespace: string;
  count: number;
  /** performance.now() of the last write. */
  lastAt: number;
}

/** A repeated event within this time increments the count of the existing Event. */
const SAME_WITHIN_MS = 600_000;
/** Minimum time between two increments. */
const COUNT_EVERY_MS = 10_000;
const MAX_KNOWN = 4096;
const MAX_MESSAGE = 1024;

/** Sends Events, and counts repeated ones. */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #component: string;
  readonly #host: string;
  readonly #failed: (error: unknown) => void;
  readonly #known = new Map<string, Known>();

  constructor(
    client: KubeClient,
    component: string,
    host: string,
    failed: (error: unknown) => void,
  ) {
    this.#client = client;
    this.#component = component;
    this.#host = host;
    this.#failed = failed;
  }

  /** Sends an Event in the background. Calls `failed` if it cannot be sent; the Event is then lost. */
  record(involved: Involved, type: "Normal" | "Warning", reason: string, message: string): void {
    const { uid = "", name, namespace } = involved.metadata;
    const id = JSON.stringify([involved.kind, namespace, name, uid, type, reason, message]);
    const known = this.#known.get(id);
    const now = performance.now();
    if (known !== undefined && now - known.lastAt < SAME_WITHIN_MS) {
      if (now - known.lastAt > COUNT_EVERY_MS) void this.#again(known).catch(this.#failed);
      return;
    }
    // Events of objects without a namespace are in "default".
    const event = {
      name: `${name.slice(0, 200)}.${randomBytes(8).toString("hex")}`,
      namespace: namespace ?? "default",
    };
    if (this.#known.size >= MAX_KNOWN) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest ?? "");
    }
    this.#known.set(id, { ...event, count: 1, lastAt: now });
    void this.#create(involved, type, reason, message, event).catch(this.#failed);
  }

  #create(
    { apiVersion, kind, metadata: { name, namespace, uid } }: Involved,
    type: string,
    reason: string,
    message: string,
    metadata: { name: string; namespace: string },
  ): Promise<unknown> {
    const now = new Date().toISOString();
    const body = {
      apiVersion: "v1",
      kind: "Event",
      metadata,
      involvedObject: { apiVersion, kind, name, namespace, uid },
      type,
      reason,
      message: message.slice(0, MAX_MESSAGE),
      source: { component: this.#component, host: this.#host },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    const path = collectionPath(EVENTS, metadata.namespace);
    return this.#client.request({ method: "POST", path, body });
  }

  #again(known: Known): Promise<unknown> {
    known.count++;
    known.lastAt = performance.now();
    return this.#client.request({
      method: "PATCH",
      path: objectPath(EVENTS, known.name, known.namespace),
      body: { count: known.count, lastTimestamp: new Date().toISOString() },
      contentType: "application/merge-patch+json",
    });
  }
}
