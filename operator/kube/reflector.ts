/**
 * Keeps the objects of a collection in memory, as client-go's Reflector does: a list, then a watch from
 * its resource version on, and a list again when that has become too old.
 */
import { JitteredBackoff } from "./backoff.ts";
import { type KubeClient, optional, pause } from "./client.ts";
import { fromStatus, KubeError, type StatusBody } from "./errors.ts";
import { type KubeObject, keyOfMeta } from "./object.ts";

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  /** Of the collection. */
  readonly path: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /**
   * Lists what the API server has in memory instead of asking its database: cheap where a selector lets
   * few of many objects through, but it may be some moments old.
   */
  readonly fromCache?: boolean;
  /** Keeps of an object what is needed; managedFields are gone already. */
  keep?(object: T): T;
  /**
   * The object of the key has come, changed or gone. It should only take note: the watch waits.
   * @param gone the object as it was, where it is no more
   */
  changed(key: string, gone?: T): void;
  /** What went wrong; the reflector goes on by itself. */
  failed(error: KubeError): void;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface ReflectorTiming {
  /** The server is asked to end a watch after one to two times this. */
  readonly watchMs: number;
  /** A watch that has not ended by then is ended from here. */
  readonly graceMs: number;
  /** A server that sends bookmarks (every minute or so), and then nothing for this long, is gone. */
  readonly silenceMs: number;
  /** All is listed again after one to two times this, whatever the watch has said. */
  readonly relistMs: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
  /** A watch that has lasted for so long has gone well, however it ends. */
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

/** What of a reflector does not depend on what it holds. */
export type AnyReflector = Pick<
  Reflector<KubeObject>,
  "isSynced" | "silentMs" | "size" | "synced" | "run"
>;

export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #objects = new Map<string, T>();
  readonly #syncedWaiters: (() => void)[] = [];
  #synced = false;
  #resourceVersion = "";
  /** The server has told that it has forgotten the resource version: any answer will do. */
  #isExpired = false;
  #lastSign = performance.now();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
  }

  /** Whether all has been listed at least once. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** Since the server has last said anything about the collection. */
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

  /** Resolves when all has been listed once. */
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
      // Of the version that was asked for, or of the page that was to continue: the next list starts anew.
      if (isExpired(error) || isAhead(error)) this.#isExpired = true;
      throw error;
    }
  }

  /** From memory, never older than what was seen; else from the database, in pages. */
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
   * One watch after the other. Returns when it is time to list again; a broken connection is none.
   * A server that cuts watches short has more to do than it can: it is asked ever more rarely.
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
      // The server goes through all that has happened since, for nothing, and each time there is more.
      if (this.#options.fromCache && this.#resourceVersion === from) return;
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, path, labelSelector, fieldSelector } = this.#options;
    const { watchMs, graceMs, silenceMs } = this.#timing;
    const seconds = Math.ceil((watchMs * (1 + Math.random())) / 1000);
    const deadline = new AbortController();
    const end = () => deadline.abort(new KubeError(0, "ETIMEDOUT", `${path}: the watch is silent`));
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
    // Often half of an object, and of no use here.
    delete (object.metadata as { managedFields?: unknown }).managedFields;
    return this.#options.keep?.(object) ?? object;
  }

  #report(error: unknown): void {
    const known = error instanceof KubeError;
    this.#options.failed(known ? error : new KubeError(0, "Internal", String(error)));
  }
}

/**
 * We have seen a version that the server has not reached: its database has been put back to an earlier
 * state. Old servers say so in words alone.
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
