/** The Secrets that this node's sessions name, and no others: read one by one, and now and then again. */
import pMap from "p-map";
import type { SecretReader } from "../../convert/resolve.ts";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import { type KubeObject, objectPath, SECRETS } from "../../kube/object.ts";

interface SecretObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A Secret as last read, or why it could not be. */
interface Known {
  /** Of the keys that are named: their contents. */
  readonly data: Readonly<Record<string, string>> | null;
  readonly problem: string | null;
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

  /** Reads those that are named now and were not before; forgets the others. */
  async want(refs: Iterable<SecretRef>): Promise<void> {
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
      return (
        !this.#known.has(id) || known === undefined || [...keys].some((key) => !known.has(key))
      );
    });
    // Somebody waits for these.
    const missing = [...wanted.keys()].filter((id) => this.#known.get(id)?.data === null);
    await this.#readAll([...fresh.map(([id]) => id), ...missing.slice(0, MISSING_AT_ONCE)]);
  }

  /** Reads all of them again. @returns whether any has changed */
  async refresh(): Promise<boolean> {
    const before = JSON.stringify([...this.#known]);
    await this.#readAll([...this.#wanted.keys()]);
    return JSON.stringify([...this.#known]) !== before;
  }

  /** For a restart while the API server is away. */
  save(): unknown {
    return [...this.#known].filter(([, { data }]) => data !== null);
  }

  restore(saved: unknown): void {
    for (const [id, known] of saved as [string, Known][]) {
      this.#known.set(id, known);
      this.#wanted = new Map([...this.#wanted, [id, new Set(Object.keys(known.data ?? {}))]]);
    }
  }

  async #readAll(ids: readonly string[]): Promise<void> {
    await pMap(ids, (id) => this.#readOne(id), { concurrency: READS_AT_ONCE });
  }

  async #readOne(id: string): Promise<void> {
    const [namespace = "", name = ""] = id.split("/");
    try {
      const path = objectPath(SECRETS, name, namespace);
      const timeoutMs = READ_TIMEOUT_MS;
      const { data = {} } = await this.#client.request<SecretObject>({
        method: "GET",
        path,
        timeoutMs,
      });
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
