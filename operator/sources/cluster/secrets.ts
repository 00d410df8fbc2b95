/** The Secrets that this node's sessions name, and no others: read one by one, and now and then again. */
import pMap from "p-map";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import { type KubeObject, objectPath, SECRETS } from "../../kube/object.ts";
import type { SecretReader } from "../../resolve/secret.ts";

interface SecretObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A Secret as last read, or why it could not be. */
interface Known {
  /** Of the keys that are named: their contents. */
  readonly data: Readonly<Record<string, string>> | null;
  readonly problem: string | null;
}

/** Entries by "namespace/name". */
export type SavedSecrets = readonly (readonly [string, Known])[];

/** True if the value is what `save` returned. @throws TypeError if its shape is quite another */
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
  /** By "namespace/name". */
  readonly #known = new Map<string, Known>();
  #wanted: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  readonly #reading = new Set<string>();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  readonly read: SecretReader = (namespace, name, key) => {
    const known = this.#known.get(`${namespace}/${name}`);
    if (known?.data === null || known === undefined) {
      throw new Error(known?.problem ?? `Secret ${namespace}/${name} has not been read yet`);
    }
    const text = known.data[key];
    if (text !== undefined) return text;
    throw new Error(`Secret ${namespace}/${name} has no key ${key}; put the cookie's digits there`);
  };

  /**
   * Reads those that are named now and were not before, and some of those that were missing; forgets the
   * others. @returns whether anything is known now that was not
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

  /** Reads all of them again. @returns whether any has changed */
  refresh(): Promise<boolean> {
    return this.#readAll([...this.#wanted.keys()]);
  }

  /** For a restart while the API server is away. */
  save(): SavedSecrets {
    return [...this.#known].filter(([, { data }]) => data !== null);
  }

  restore(saved: SavedSecrets): void {
    for (const [id, known] of saved) {
      this.#known.set(id, known);
      this.#wanted = new Map([...this.#wanted, [id, new Set(Object.keys(known.data ?? {}))]]);
    }
  }

  /** @returns whether any has changed */
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
    // It may be named no more.
    if (!this.#wanted.has(id)) this.#known.delete(id);
    return JSON.stringify(this.#known.get(id)) !== before;
  }

  async #ask(id: string): Promise<void> {
    const [namespace = "", name = ""] = id.split("/");
    try {
      const path = objectPath(SECRETS, name, namespace);
      // A server that wants to be left alone is asked again the next time.
      const signal = AbortSignal.timeout(READ_TIMEOUT_MS);
      const { data = {} } = await this.#client.get<SecretObject>(path, undefined, signal);
      const keys = [...(this.#wanted.get(id) ?? [])].filter((key) => data[key] !== undefined);
      const decoded = keys.map((key) => [key, Buffer.from(data[key] ?? "", "base64").toString()]);
      this.#known.set(id, { data: Object.fromEntries(decoded), problem: null });
    } catch (error) {
      this.#note(id, error);
    }
  }

  /** A server that does not answer has taken nothing back; one that says no has. */
  #note(id: string, error: unknown): void {
    const isAnswer = error instanceof KubeError && !error.isTransient;
    if (!isAnswer && this.#known.get(id)?.data) return;
    const problem =
      error instanceof KubeError && error.isNotFound
        ? `no Secret ${id}; create it`
        : `Secret ${id} cannot be read: ${error instanceof Error ? error.message : error}`;
    this.#known.set(id, { data: null, problem });
  }
}
