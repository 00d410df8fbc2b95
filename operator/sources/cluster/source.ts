/** Reads objects, Secrets and pods from the API server, and writes status to it. */
import type { Logger } from "pino";
import { NODE_LABEL, nodeLabel } from "../../api/placement.ts";
import {
  type L2tpObject,
  type L2tpSession,
  type L2tpTunnel,
  SESSIONS,
  TUNNELS,
} from "../../api/types.ts";
import type { KubeClient } from "../../kube/client.ts";
import { pause } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import type { EventRecorder } from "../../kube/events.ts";
import { LogLimiter } from "../../kube/log-limiter.ts";
import { collectionPath, objectPath } from "../../kube/object.ts";
import { type AnyReflector, Reflector } from "../../kube/reflector.ts";
import type { SecretReader } from "../../resolve/secret.ts";
import type { Found, Kind, ObjectSource } from "../source.ts";
import { AcceptedObjects } from "./accepted.ts";
import { Cache } from "./cache.ts";
import { Pods } from "./pods.ts";
import { ClusterSecrets, type SecretRef } from "./secrets.ts";
import { ClusterStatus } from "./status.ts";

export interface ClusterOptions {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly nodeName: string;
  /** Path of the object cache, which holds secrets. */
  readonly cache: string;
  /** Interval for re-reading Secrets, in milliseconds. A change is seen after one to two intervals. */
  readonly secretsMs: number;
  /** Receives the time from seeing a version until it is programmed, in seconds. */
  programmed(seconds: number): void;
  readonly log: Logger;
}

const SECRETS_WAIT_MS = 1000;
const LOOK_UP_TIMEOUT_MS = 5000;

export class ClusterSource implements ObjectSource {
  readonly folder = null;
  readonly secrets: SecretReader;
  readonly status: ClusterStatus;
  readonly reflectors: Readonly<Record<string, AnyReflector>>;
  readonly #options: ClusterOptions;
  readonly #tunnels: Reflector<L2tpTunnel>;
  readonly #sessions: Reflector<L2tpSession>;
  readonly #accepted: AcceptedObjects;
  readonly #secrets: ClusterSecrets;
  readonly #pods: Pods;
  readonly #cache: Cache;
  readonly #stopped = new AbortController();
  #isRestored = false;
  #isWhole = false;
  #changed: () => void = () => {};
  readonly #logLimiter = new LogLimiter();
  /** Times of performance.now() at which versions were seen, by kind and key. */
  readonly #seenAt = new Map<string, number>();

  constructor(options: ClusterOptions) {
    const { client, nodeName, cache } = options;
    this.#options = options;
    this.#accepted = new AcceptedObjects(nodeName);
    this.#secrets = new ClusterSecrets(client);
    this.secrets = this.#secrets.read;
    this.#pods = new Pods(client, nodeName, (error) => this.#failed(error));
    this.#cache = new Cache(cache);
    const common = {
      client,
      labelSelector: `${NODE_LABEL}=${nodeLabel(nodeName)}`,
      fromCache: true,
      failed: (error: KubeError) => this.#failed(error),
    };
    this.#tunnels = new Reflector<L2tpTunnel>({
      ...common,
      path: collectionPath(TUNNELS),
      changed: (key, gone) => this.#take("L2tpTunnel", key, this.#tunnels.get(key), gone),
    });
    this.#sessions = new Reflector<L2tpSession>({
      ...common,
      path: collectionPath(SESSIONS),
      changed: (key, gone) => this.#take("L2tpSession", key, this.#sessions.get(key), gone),
    });
    this.reflectors = { l2tptunnels: this.#tunnels, l2tpsessions: this.#sessions };
    this.status = new ClusterStatus({
      ...options,
      find: (kind, key) => this.#find(kind, key),
      programmed: (kind, key) => this.#programmed(`${kind} ${key}`),
    });
    this.#restore();
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  async read(): Promise<Found | null> {
    const isSynced = this.#tunnels.isSynced && this.#sessions.isSynced;
    if (isSynced && !this.#isWhole) {
      this.#isWhole = true;
      this.#accepted.prune((kind, key) => this.#find(kind, key));
    }
    if (!isSynced && !this.#isRestored) return null;
    const { documents, withdrawn, held } = this.#accepted;
    if (isSynced) {
      await this.#readSecrets(documents.flatMap(({ content }) => secretRefs(content)));
      this.#save();
    }
    return { documents, rejections: [], withdrawn, held };
  }

  /** Does nothing: the controller stores claims in the status. */
  hold(): null {
    return null;
  }

  forget(): void {
    this.#cache.remove();
  }

  /** Waits a bounded time, because the reconcile waits. Secrets that arrive later trigger another reconcile. */
  async #readSecrets(refs: readonly SecretRef[]): Promise<void> {
    let isLate = false;
    const reading = this.#secrets.want(refs);
    await Promise.race([reading, pause(SECRETS_WAIT_MS)]);
    void reading.then((isNew) => {
      if (isNew && isLate) this.#changed();
    });
    isLate = true;
  }

  watch(changed: () => void): () => void {
    this.#changed = changed;
    const { signal } = this.#stopped;
    void this.#tunnels.run(signal);
    void this.#sessions.run(signal);
    void Promise.all([this.#tunnels.synced(), this.#sessions.synced()]).then(changed);
    void this.status.queue.run(signal);
    void this.#refreshSecrets(signal);
    return () => this.#stopped.abort(new Error("stopped"));
  }

  annotationOf(pod: string, uid: string | null): Promise<string | null> {
    return this.#pods.annotationOf(pod, uid, this.#stopped.signal);
  }

  async locateSession(key: string): Promise<string | null> {
    const [namespace, name = ""] = key.split("/");
    const { client, nodeName } = this.#options;
    try {
      const { spec, status } = await client.request<L2tpSession>({
        method: "GET",
        path: objectPath(SESSIONS, name, namespace),
        timeoutMs: LOOK_UP_TIMEOUT_MS,
      });
      const accepted = status?.conditions?.find(({ type }) => type === "Accepted");
      if (accepted?.status === "False") return `not accepted: ${accepted.message}`;
      if (status?.nodeName === undefined) {
        return "the controller has not accepted it yet; check that l2tp-controller runs";
      }
      if (status.nodeName === nodeName) return "just assigned to this node; retry";
      return `its L2tpTunnel ${spec.tunnelRef.name} is on node ${status.nodeName}; run the pod there (spec.nodeName, or nodeSelector kubernetes.io/hostname: ${status.nodeName})`;
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return "not found";
      return null;
    }
  }

  #find(kind: Kind, key: string): L2tpObject | undefined {
    return kind === "L2tpTunnel" ? this.#tunnels.get(key) : this.#sessions.get(key);
  }

  #take(
    kind: Kind,
    key: string,
    object: L2tpObject | undefined,
    gone: L2tpObject | undefined,
  ): void {
    const isNew = this.#accepted.take(kind, key, object);
    if (isNew) this.#seenAt.set(`${kind} ${key}`, performance.now());
    else if (object === undefined) this.#seenAt.delete(`${kind} ${key}`);
    this.status.check(kind, key, gone);
    this.#changed();
  }

  #programmed(id: string): void {
    const since = this.#seenAt.get(id);
    if (since === undefined) return;
    this.#seenAt.delete(id);
    this.#options.programmed((performance.now() - since) / 1000);
  }

  #restore(): void {
    const cached = this.#cache.load(this.#options.nodeName);
    if (cached === null) return;
    this.#accepted.restore(cached.documents);
    this.#secrets.restore(cached.secrets);
    this.#isRestored = true;
  }

  #save(): void {
    const { nodeName, log } = this.#options;
    const { documents } = this.#accepted;
    try {
      this.#cache.save({ nodeName, documents, secrets: this.#secrets.save() });
    } catch (error) {
      log.error({ err: error }, "cannot write the object cache");
    }
  }

  async #refreshSecrets(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(this.#options.secretsMs * (1 + Math.random()), signal).catch(() => {});
      if (!signal.aborted && (await this.#secrets.refresh())) this.#changed();
    }
  }

  #failed(error: KubeError): void {
    if (!this.#logLimiter.shouldLog(error.what, error.message)) return;
    const hint = error.isNotFound ? "; are the CustomResourceDefinitions installed?" : "";
    this.#options.log.warn(`${error.message}${hint}; keeping the current state; retrying`);
  }
}

function secretRefs(content: unknown): SecretRef[] {
  const { kind, metadata, spec } = content as L2tpObject;
  if (kind === "L2tpTunnel") {
    const { secretRef, previousSecretRef } = spec.control ?? {};
    return [secretRef, previousSecretRef].filter((reference) => reference !== undefined);
  }
  const { receive, receivePrevious, transmit } = spec.cookies ?? {};
  return [receive, receivePrevious, transmit].flatMap((cookie) => {
    const reference = cookie?.valueFrom?.secretKeyRef;
    if (reference === undefined) return [];
    return [{ namespace: metadata.namespace, ...reference }];
  });
}
