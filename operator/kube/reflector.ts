/**
 * Keeps the objects of a collection in memory, like client-go's Reflector: a list, then watches from its resource
 * version, and another list if that version has expired.
 */
import { JitteredBackoff } from "./backoff.ts";
import { type KubeClient, optional, pause } from "./client.ts";
import { fromStatus, KubeError, type StatusBody } from "./errors.ts";
import { type KubeObject, keyOfMeta } from "./object.ts";

/** The collection, and callbacks. */
export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  /** Path of the collection. */
  readonly path: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /**
   * Lists from the API server's watch cache instead of its database. That is cheap if a selector matches few of
   * many objects, but the list may be slightly old.
   */
  readonly fromCache?: boolean;
  /** Returns the part of an object to keep in memory. managedFields are removed before. */
  keep?(object: T): T;
  /**
   * Called when an object is added, changed or deleted. Must return quickly, because the watch waits for it.
   * @param gone the last state of a deleted object
   */
  changed(key: string, gone?: T): void;
  /** Called after an error. The reflector retries by itself. */
  failed(error: KubeError): void;
  readonly timing?: Partial<ReflectorTiming>;
}

/** Timing of lists and watches. */
export interface ReflectorTiming {
  /** Requested duration of a watch: one to two times this. */
  readonly watchMs: number;
  /** A watch that outlives its requested duration by this time is closed. */
  readonly graceMs: number;
  /** A watch is closed if the server has sent bookmarks (about every minute), and then nothing for this time. */
  readonly silenceMs: number;
  /** Interval of full lists: one to two times this. */
  readonly relistMs: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
  /** A watch of this duration counts as successful, however it ends. */
  readonly calmMs: number;
}

const TIMING: ReflectorTiming = {
  watchMs: 300_000,
  graceMs: 30_000,
  silenceMs: 180_000,
  relistMs: 1_200_000,
  firstBackoffMs: 400,
  mostBackoffMs: 30_000,
  calmMs: 30_000,
};

const PAGE = 500;

interface Page<T> {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly T[] | null;
}

interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: T & StatusBody;
}

/** The members of a reflector that do not depend on the type of its objects. */
export type AnyReflector = Pick<
  Reflector<KubeObject>,
  "isSynced" | "silentMs" | "size" | "synced" | "run"
>;

/** A collection in memory. */
export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #objects = new Map<string, T>();
  readonly #syncedWaiters: (() => void)[] = [];
  #synced = false;
  #resourceVersion = "";
  /** The resource version has expired: the next list may have any version. */
  #isExpired = false;
  #lastSign = performance.now();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
  }

  /** True after the first complete list. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** Milliseconds since the server's last message about the collection. */
  get silentMs(): number {
    return performance.now() - this.#lastSign;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  values(): Iterable<T> {
    return this.#objects.values();
  }

  /** Resolves after the first complete list. */
  synced(): Promise<void> {
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve) => this.#syncedWaiters.push(resolve));
  }

  /** Runs until the signal is aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { firstBackoffMs, mostBackoffMs } = this.#timing;
    const listing = new JitteredBackoff(firstBackoffMs, mostBackoffMs);
    const watching = new JitteredBackoff(firstBackoffMs, mostBackoffMs);
    while (!signal.aborted) {
      try {
        await this.#list(signal);
        listing.reset();
        await this.#watchUntilRelist(signal, watching);
      } catch (error) {
        if (signal.aborted) return;
        this.#report(error);
        await pause(listing.next(), signal).catch(() => {});
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, path, labelSelector, fieldSelector } = this.#options;
    const selectors = optional({ labelSelector, fieldSelector });
    const found = new Map<string, T>();
    let page: Page<T>;
    let next: string | undefined;
    do {
      const from = next === undefined ? this.#listFrom() : { continue: next, limit: String(PAGE) };
      page = await this.#getPage(client.get<Page<T>>(path, { ...selectors, ...from }, signal));
      for (const item of page.items ?? []) found.set(keyOfMeta(item.metadata), this.#kept(item));
      next = page.metadata.continue === "" ? undefined : page.metadata.continue;
    } while (next !== undefined);
    this.#isExpired = false;
    this.#resourceVersion = page.metadata.resourceVersion ?? "";
    this.#replace(found);
  }

  async #getPage(answer: Promise<Page<T>>): Promise<Page<T>> {
    try {
      const page = await answer;
      this.#lastSign = performance.now();
      return page;
    } catch (error) {
      // The requested version or the continue token has expired. The next list starts from the beginning.
      if (isExpired(error) || isAhead(error)) this.#isExpired = true;
      throw error;
    }
  }

  /** Returns the query of a list: from the watch cache, at least as new as the last version, or from the database. */
  #listFrom(): Record<string, string> {
    const fromDatabase = { limit: String(PAGE) };
    if (this.#options.fromCache !== true || this.#isExpired) return fromDatabase;
    return { resourceVersion: this.#resourceVersion === "" ? "0" : this.#resourceVersion };
  }

  #replace(found: ReadonlyMap<string, T>): void {
    const changed = new Map<string, T | undefined>();
    for (const [key, object] of this.#objects) {
      if (found.has(key)) continue;
      this.#objects.delete(key);
      changed.set(key, object);
    }
    for (const [key, object] of found) {
      const before = this.#objects.get(key)?.metadata.resourceVersion;
      if (before !== undefined && before === object.metadata.resourceVersion) continue;
      this.#objects.set(key, object);
      changed.set(key, undefined);
    }
    this.#synced = true;
    for (const waiter of this.#syncedWaiters.splice(0)) waiter();
    for (const [key, gone] of changed) this.#options.changed(key, gone);
  }

  /**
   * Runs watches one after the other. Returns when it is time to list again. A broken connection is no reason
   * to list. If the server closes watches early, it is overloaded: the backoff grows.
   */
  async #watchUntilRelist(signal: AbortSignal, backoff: JitteredBackoff): Promise<void> {
    const { relistMs, calmMs } = this.#timing;
    const relistAt = performance.now() + relistMs * (1 + Math.random());
    while (!signal.aborted && !this.#isExpired && performance.now() < relistAt) {
      const started = performance.now();
      const from = this.#resourceVersion;
      try {
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (isExpired(error)) this.#isExpired = true;
        else this.#report(error);
      }
      if (performance.now() - started > calmMs) {
        backoff.reset();
        continue;
      }
      await pause(backoff.next(), signal).catch(() => {});
      // Watches without events: each one makes the server scan a longer history. List instead.
      if (this.#options.fromCache && this.#resourceVersion === from) return;
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, path, labelSelector, fieldSelector } = this.#options;
    const { watchMs, graceMs, silenceMs } = this.#timing;
    const seconds = Math.ceil((watchMs * (1 + Math.random())) / 1000);
    const deadline = new AbortController();
    const end = () => deadline.abort(new KubeError(0, "ETIMEDOUT", `${path}: watch timed out`));
    let timer = setTimeout(end, seconds * 1000 + graceMs);
    const query = {
      ...optional({ labelSelector, fieldSelector }),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: this.#resourceVersion,
      timeoutSeconds: String(seconds),
    };
    try {
      const either = AbortSignal.any([signal, deadline.signal]);
      let hasBookmarks = false;
      for await (const event of client.stream<WatchEvent<T>>(path, query, either)) {
        this.#take(event);
        hasBookmarks ||= event.type === "BOOKMARK";
        if (!hasBookmarks) continue;
        clearTimeout(timer);
        timer = setTimeout(end, silenceMs);
      }
    } catch (error) {
      throw deadline.signal.aborted ? deadline.signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #take({ type, object }: WatchEvent<T>): void {
    this.#lastSign = performance.now();
    if (type === "ERROR") {
      throw fromStatus(`watch ${this.#options.path}`, object.code ?? 0, object, undefined);
    }
    this.#resourceVersion = object.metadata.resourceVersion ?? this.#resourceVersion;
    if (type === "BOOKMARK") return;
    const key = keyOfMeta(object.metadata);
    if (type === "DELETED") {
      const gone = this.#objects.get(key);
      this.#objects.delete(key);
      this.#options.changed(key, gone);
    } else {
      this.#objects.set(key, this.#kept(object));
      this.#options.changed(key);
    }
  }

  #kept(object: T): T {
    // managedFields are unused, and often half of the object's size.
    delete (object.metadata as { managedFields?: unknown }).managedFields;
    return this.#options.keep?.(object) ?? object;
  }

  #report(error: unknown): void {
    const known = error instanceof KubeError;
    this.#options.failed(known ? error : new KubeError(0, "Internal", String(error)));
  }
}

/**
 * True if the server has not reached the resource version, because its database was restored from a backup. Old
 * servers report that only by the message.
 */
function isAhead(error: unknown): boolean {
  return (
    error instanceof KubeError &&
    error.status === 504 &&
    /too large resource version/i.test(error.message)
  );
}

function isExpired(error: unknown): boolean {
  return error instanceof KubeError && error.isExpired;
}
