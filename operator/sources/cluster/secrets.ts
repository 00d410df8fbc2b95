/** Reads the Secrets that this node's objects name, one by one, and refreshes them. */
import pMap from "p-map";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import { type KubeObject, objectPath, SECRETS } from "../../kube/object.ts";
import type { SecretReader } from "../../resolve/secret.ts";

interface SecretObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A Secret as last read, or the reason why it cannot be read. */
interface Known {
  /** Contents of the keys that objects name; null: not readable. */
  readonly data: Readonly<Record<string, string>> | null;
  readonly problem: string | null;
}

/** Entries by "namespace/name". */
export type SavedSecrets = readonly (readonly [string, Known])[];

/** True if the value has the structure that `save` returns. @throws TypeError if it is not a list of pairs */
export function isSavedSecrets(value: unknown): value is SavedSecrets {
  return (value as readonly unknown[]).every((item) => {
    const [id, known] = item as readonly unknown[];
    const { data, problem } = known as Known;
    const texts = Object.values(data ?? {});
    const isFine = texts.every((text) => typeof text === "string") && typeof data === "object";
    return typeof id === "string" && isFine && (problem === null || typeof problem === "string");
  });
}

const READ_TIMEOUT_MS = 5000;
const READS_AT_ONCE = 8;
const MISSING_AT_ONCE = 16;

/** A key of a Secret. */
export interface SecretRef {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
}

export class ClusterSecrets {
  readonly #client: KubeClient;
  /** Secrets by "namespace/name". */
  readonly #known = new Map<string, Known>();
  #wanted: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  readonly #reading = new Set<string>();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  readonly read: SecretReader = (namespace, name, key) => {
    const known = this.#known.get(`${namespace}/${name}`);
    if (known?.data === null || known === undefined) {
      throw new Error(known?.problem ?? `Secret ${namespace}/${name} is not read yet; retrying`);
    }
    const text = known.data[key];
    if (text !== undefined) return text;
    throw new Error(`Secret ${namespace}/${name} has no key ${key}; add it`);
  };

  /**
   * Reads newly named Secrets, and some of the missing ones. Forgets Secrets that are no longer named.
   * @returns true if a Secret has changed
   */
  async want(refs: Iterable<SecretRef>): Promise<boolean> {
    const wanted = new Map<string, Set<string>>();
    for (const { namespace, name, key } of refs) {
      const id = `${namespace}/${name}`;
      wanted.set(id, (wanted.get(id) ?? new Set()).add(key));
    }
    for (const id of this.#known.keys()) if (!wanted.has(id)) this.#known.delete(id);
    const before = this.#wanted;
    this.#wanted = wanted;
    const fresh = [...wanted].filter(([id, keys]) => {
      const known = before.get(id);
      return known === undefined || [...keys].some((key) => !known.has(key));
    });
    const missing = [...wanted.keys()].filter((id) => this.#known.get(id)?.data === null);
    return this.#readAll([...fresh.map(([id]) => id), ...missing.slice(0, MISSING_AT_ONCE)]);
  }

  /** Reads all Secrets again. @returns true if a Secret has changed */
  refresh(): Promise<boolean> {
    return this.#readAll([...this.#wanted.keys()]);
  }

  /** Returns the Secrets for the cache. */
  save(): SavedSecrets {
    return [...this.#known].filter(([, { data }]) => data !== null);
  }

  restore(saved: SavedSecrets): void {
    for (const [id, known] of saved) {
      this.#known.set(id, known);
      this.#wanted = new Map([...this.#wanted, [id, new Set(Object.keys(known.data ?? {}))]]);
    }
  }

  /** @returns true if a Secret has changed */
  async #readAll(ids: readonly string[]): Promise<boolean> {
    const changed = await pMap([...new Set(ids)], (id) => this.#readOne(id), {
      concurrency: READS_AT_ONCE,
    });
    return changed.includes(true);
  }

  async #readOne(id: string): Promise<boolean> {
    if (this.#reading.has(id)) return false;
    this.#reading.add(id);
    const before = JSON.stringify(this.#known.get(id));
    await this.#ask(id);
    this.#reading.delete(id);
    // The Secret may no longer be named.
    if (!this.#wanted.has(id)) this.#known.delete(id);
    return JSON.stringify(this.#known.get(id)) !== before;
  }

  async #ask(id: string): Promise<void> {
    const [namespace = "", name = ""] = id.split("/");
    try {
      const path = objectPath(SECRETS, name, namespace);
      // A throttled request is not repeated here; the next refresh does so.
      const signal = AbortSignal.timeout(READ_TIMEOUT_MS);
      const { data = {} } = await this.#client.get<SecretObject>(path, undefined, signal);
      const keys = [...(this.#wanted.get(id) ?? [])].filter((key) => data[key] !== undefined);
      const decoded = keys.map((key) => [key, Buffer.from(data[key] ?? "", "base64").toString()]);
      this.#known.set(id, { data: Object.fromEntries(decoded), problem: null });
    } catch (error) {
      this.#note(id, error);
    }
  }

  /** Keeps the known value if the server did not answer; an error response invalidates it. */
  #note(id: string, error: unknown): void {
    const isAnswer = error instanceof KubeError && !error.isTransient;
    if (!isAnswer && this.#known.get(id)?.data) return;
    const problem =
      error instanceof KubeError && error.isNotFound
        ? `Secret ${id} not found; create it`
        : `cannot read Secret ${id}: ${error instanceof Error ? error.message : error}`;
    this.#known.set(id, { data: null, problem });
  }
}
