/** Status of the objects in the state folder: a file each, written atomically and only on change. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sync as writeFileAtomic } from "write-file-atomic";
import { sameData } from "../../../l2tp/difference.ts";
import { API_VERSION, type Condition } from "../../api/types.ts";
import type { Verdict } from "../../convert/status.ts";
import type { Kind, StatusInput, StatusSink } from "../source.ts";

interface StatusFile {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; generation: number };
  /** A digest, to count generations by: specs may hold cookies. */
  readonly specDigest: string;
  readonly status: Readonly<Record<string, unknown>> & {
    readonly conditions: readonly Condition[];
  };
}

export class StatusStore implements StatusSink {
  readonly #folder: string;
  readonly #files = new Map<string, StatusFile>();
  readonly #now: () => Date;

  constructor(stateFolder: string, now: () => Date) {
    this.#folder = join(stateFolder, "status");
    this.#now = now;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#folder)) {
      if (!name.endsWith(".json")) continue;
      try {
        const text = readFileSync(join(this.#folder, name), "utf8");
        this.#files.set(name, JSON.parse(text) as StatusFile);
      } catch {
        // Half a file of a full disk: written anew below.
      }
    }
  }

  /** Conditions with their times, as last written. */
  conditionsOf(kind: Kind, key: string): readonly Condition[] {
    return this.#files.get(fileName(kind, key))?.status.conditions ?? [];
  }

  /**
   * Makes the folder say this, and nothing else.
   * @returns what could not be written, for the log; it is tried again the next time
   */
  write(inputs: readonly StatusInput[]): Error[] {
    const errors: Error[] = [];
    const wanted = new Set(inputs.map(({ kind, key }) => fileName(kind, key)));
    for (const name of this.#files.keys()) {
      if (wanted.has(name)) continue;
      rmSync(join(this.#folder, name), { force: true });
      this.#files.delete(name);
    }
    for (const input of inputs) {
      try {
        this.#writeOne(input);
      } catch (error) {
        errors.push(error instanceof Error ? error : new Error(String(error)));
      }
    }
    return errors;
  }

  #writeOne({ kind, key, spec, status }: StatusInput): void {
    const name = fileName(kind, key);
    const before = this.#files.get(name);
    const specDigest = createHash("sha256").update(JSON.stringify(spec)).digest("hex");
    const isSame = before?.specDigest === specDigest;
    const generation = (before?.metadata.generation ?? 0) + (isSame ? 0 : 1);
    const [namespace, objectName] = key.includes("/") ? key.split("/") : [undefined, key];
    const file: StatusFile = {
      apiVersion: API_VERSION,
      kind,
      metadata: {
        name: objectName ?? key,
        ...(namespace === undefined ? {} : { namespace }),
        generation,
      },
      specDigest,
      status: {
        ...status,
        observedGeneration: generation,
        conditions: status.conditions.map((verdict) =>
          this.#timed(verdict, generation, before?.status.conditions ?? []),
        ),
      },
    };
    if (before !== undefined && sameData(file, before)) return;
    writeFileAtomic(join(this.#folder, name), `${JSON.stringify(file, null, 2)}\n`, {
      mode: 0o600,
      // What a power cut leaves half-written is written anew.
      fsync: false,
    });
    this.#files.set(name, file);
  }

  #timed(verdict: Verdict, generation: number, before: readonly Condition[]): Condition {
    const known = before.find(({ type }) => type === verdict.type);
    const lastTransitionTime =
      known?.status === verdict.status ? known.lastTransitionTime : this.#now().toISOString();
    return { ...verdict, observedGeneration: generation, lastTransitionTime };
  }
}

/** Names are checked by then: no slashes but ours, no dots in front. */
function fileName(kind: string, key: string): string {
  return `${kind.toLowerCase()}.${key.replace("/", ".")}.json`;
}
