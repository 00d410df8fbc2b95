/**
 * Leader election by a Lease, like client-go's. Candidates do not compare clocks: a lease has expired if it has
 * not changed for its duration, measured by the candidate's monotonic clock.
 */
import { type KubeClient, optional, pause } from "./client.ts";
import { KubeError } from "./errors.ts";
import { type KubeMeta, LEASES, objectPath } from "./object.ts";

/** The Lease, and the timing of the election. */
export interface LeaseOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique among the candidates: the pod's name. */
  readonly identity: string;
  /** Other candidates may acquire a lease that was not renewed for this time. */
  readonly durationMs: number;
  /** A leader that cannot renew for this time stops leading. Must be less than `durationMs`. */
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

/** A candidate for the Lease. */
export class LeaderElection {
  readonly #options: LeaseOptions;
  readonly #path: string;
  /** Resource version of the last seen lease, and performance.now() of its first sight. */
  #seen = "";
  #seenAt = 0;
  #lease: LeaseObject | null = null;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#path = objectPath(LEASES, options.name, options.namespace);
  }

  /** Waits until this candidate has acquired the lease. @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<void> {
    while (!(await this.#tryOnce())) {
      await pause(this.#options.retryMs * (1 + Math.random() / 5), signal);
    }
  }

  /** Acquires the lease by force, and waits until its holder has stopped. @throws the signal's reason */
  async take(signal: AbortSignal): Promise<void> {
    while (!(await this.#tryOnce(true))) await pause(this.#options.retryMs, signal);
    // The previous leader may not see the change. It stops when it cannot renew for this time.
    await pause(this.#options.renewWithinMs, signal);
  }

  /** Renews the lease. Returns when the lease is lost, or the signal is aborted. */
  async hold(signal: AbortSignal): Promise<void> {
    const { retryMs, renewWithinMs, identity } = this.#options;
    const lost = new AbortController();
    const lose = () => lost.abort(new Error("the lease could not be renewed"));
    // The timer also runs while a request hangs.
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

  /** Releases the lease, so that another candidate can acquire it at once. */
  async release(): Promise<void> {
    if (this.#holder() !== this.#options.identity) return;
    await this.#write({ ...this.#lease?.spec, holderIdentity: "", leaseDurationSeconds: 1 }).catch(
      (error) => this.#options.failed(error),
    );
  }

  #holder(): string {
    return this.#lease?.spec?.holderIdentity ?? "";
  }

  /** Acquires the lease if it is free, or renews it. @returns true if this candidate holds it */
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
      // A conflict is no failure: another candidate was faster.
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
    // The metadata has the resource version: a lease that has changed meanwhile is a conflict.
    const metadata = this.#lease?.metadata ?? { namespace, name };
    const body = { apiVersion: LEASES.apiVersion, kind: LEASES.kind, metadata, spec };
    const isNew = this.#lease === null;
    const path = isNew ? this.#path.slice(0, this.#path.lastIndexOf("/")) : this.#path;
    const method = isNew ? ("POST" as const) : ("PUT" as const);
    const request = { method, path, body, timeoutMs, ...optional({ signal }) };
    this.#note(await client.request<LeaseObject>(request));
  }
}

/** Returns the current time as metav1.MicroTime. */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
