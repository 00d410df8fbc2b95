/**
 * Who of several may act: the holder of a Lease, as client-go's leader election has it. Nobody compares
 * clocks: a lease has run out when it has not changed for its duration by one's own monotonic clock.
 */
import { type KubeClient, optional, pause } from "./client.ts";
import { KubeError } from "./errors.ts";
import { type KubeMeta, LEASES, objectPath } from "./object.ts";

export interface LeaseOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique among those who may lead: the pod's name. */
  readonly identity: string;
  /** A leader that does not renew for so long has lost. */
  readonly durationMs: number;
  /** A leader that could not renew for so long stops by itself: less than `durationMs`. */
  readonly renewWithinMs: number;
  readonly retryMs: number;
  failed(error: unknown): void;
}

interface LeaseObject {
  readonly metadata: KubeMeta;
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string | null;
    readonly renewTime?: string | null;
    readonly leaseTransitions?: number;
  };
}

export class LeaderElection {
  readonly #options: LeaseOptions;
  readonly #path: string;
  /** Of the lease as last seen, and since when. */
  #seen = "";
  #seenAt = 0;
  #lease: LeaseObject | null = null;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#path = objectPath(LEASES, options.name, options.namespace);
  }

  /** Waits until the lease is ours. @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<void> {
    while (!(await this.#tryOnce())) {
      await pause(this.#options.retryMs * (1 + Math.random() / 5), signal);
    }
  }

  /** Takes the lease from whoever has it, who then stops. @throws the signal's reason */
  async take(signal: AbortSignal): Promise<void> {
    while (!(await this.#tryOnce(true))) await pause(this.#options.retryMs, signal);
    // A leader that cannot be told stops by itself.
    await pause(this.#options.renewWithinMs, signal);
  }

  /** Keeps the lease. Returns when it is lost, or the signal is aborted. */
  async hold(signal: AbortSignal): Promise<void> {
    const { retryMs, renewWithinMs, identity } = this.#options;
    const lost = new AbortController();
    const lose = () => lost.abort(new Error("the lease could not be renewed"));
    // Not even a request that hangs may make it last longer.
    let timer = setTimeout(lose, renewWithinMs);
    const either = AbortSignal.any([signal, lost.signal]);
    for (;;) {
      await pause(retryMs, either).catch(() => {});
      if (either.aborted) break;
      if (await this.#tryOnce(false, either)) {
        clearTimeout(timer);
        timer = setTimeout(lose, renewWithinMs);
      } else if (this.#lease !== null && this.#holder() !== identity) break;
    }
    clearTimeout(timer);
  }

  /** Lets the next one lead at once. */
  async release(): Promise<void> {
    if (this.#holder() !== this.#options.identity) return;
    await this.#write({ ...this.#lease?.spec, holderIdentity: "", leaseDurationSeconds: 1 }).catch(
      (error) => this.#options.failed(error),
    );
  }

  #holder(): string {
    return this.#lease?.spec?.holderIdentity ?? "";
  }

  /** Takes the lease where it is free, renews it where it is ours. */
  async #tryOnce(byForce = false, signal?: AbortSignal): Promise<boolean> {
    try {
      const lease = await this.#read(signal);
      const { identity, durationMs } = this.#options;
      const holder = this.#holder();
      const leftMs = (lease?.spec?.leaseDurationSeconds ?? 0) * 1000;
      const isFree = holder === "" || performance.now() - this.#seenAt > leftMs;
      if (holder !== identity && !isFree && !byForce) return false;
      const now = microTime();
      await this.#write(
        {
          holderIdentity: identity,
          leaseDurationSeconds: Math.ceil(durationMs / 1000),
          acquireTime: holder === identity ? (lease?.spec?.acquireTime ?? now) : now,
          renewTime: now,
          leaseTransitions: (lease?.spec?.leaseTransitions ?? 0) + (holder === identity ? 0 : 1),
        },
        signal,
      );
      return true;
    } catch (error) {
      // Somebody else was faster: no failure.
      if (!(error instanceof KubeError && error.isConflict)) this.#options.failed(error);
      return false;
    }
  }

  async #read(signal?: AbortSignal): Promise<LeaseObject | null> {
    const timeoutMs = this.#options.retryMs * 2;
    const request = {
      method: "GET",
      path: this.#path,
      timeoutMs,
      ...optional({ signal }),
    } as const;
    try {
      this.#note(await this.#options.client.request(request));
    } catch (error) {
      if (!(error instanceof KubeError && error.isNotFound)) throw error;
      this.#lease = null;
    }
    return this.#lease;
  }

  #note(lease: LeaseObject): void {
    this.#lease = lease;
    const version = lease.metadata.resourceVersion ?? "";
    if (version === this.#seen) return;
    this.#seen = version;
    this.#seenAt = performance.now();
  }

  async #write(spec: NonNullable<LeaseObject["spec"]>, signal?: AbortSignal): Promise<void> {
    const { client, namespace, name, retryMs } = this.#options;
    const timeoutMs = retryMs * 2;
    // The resource version that was read: a lease that somebody has taken meanwhile is a conflict.
    const metadata = this.#lease?.metadata ?? { namespace, name };
    const body = { apiVersion: LEASES.apiVersion, kind: LEASES.kind, metadata, spec };
    const isNew = this.#lease === null;
    const path = isNew ? this.#path.slice(0, this.#path.lastIndexOf("/")) : this.#path;
    const method = isNew ? ("POST" as const) : ("PUT" as const);
    const request = { method, path, body, timeoutMs, ...optional({ signal }) };
    this.#note(await client.request<LeaseObject>(request));
  }
}

/** metav1.MicroTime. */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
