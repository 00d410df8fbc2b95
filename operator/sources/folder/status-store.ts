/**
 * Status of the objects in the state folder: a file each, replaced as a whole and only on change.
 */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile } from "../../../files/read-file.ts";
import { makeFolder, replaceFile } from "../../../files/replace-file.ts";
import { sameData } from "../../../l2tp/same-data.ts";
import { datedCondition } from "../../api/conditions.ts";
import { API_VERSION, type Condition } from "../../api/types.ts";
import type { Kind, StatusInput, StatusSink } from "../source.ts";

const MAX_FILE_BYTES = 1024 * 1024;
/** Files of ours, and what interrupted writes of this version and of earlier ones have left. */
const OURS = /\.json(\.new|\.\d+)?$/;

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

/**
 * A file as it was written: another inode, time or size means that another program has changed it.
 */
interface Written {
  readonly file: StatusFile;
  readonly stamp: string;
}

export class StatusStore implements StatusSink {
  readonly #folder: string;
  /** The desired content of the files, by name. */
  #files = new Map<string, StatusFile>();
  readonly #written = new Map<string, Written>();
  readonly #now: () => Date;

  /**
   * A file that is not one of ours, or not whole, says nothing; it is replaced or removed with the
   * first write.
   */
  constructor(stateFolder: string, now: () => Date) {
    this.#folder = join(stateFolder, "status");
    this.#now = now;
    for (const name of this.#list()) {
      const path = join(this.#folder, name);
      const file = readStatusFile(path);
      if (file === undefined) continue;
      this.#files.set(name, file);
      this.#written.set(name, { file, stamp: stampOf(path) });
    }
  }

  /** Conditions with their times, as last said. */
  conditionsOf(kind: Kind, key: string): readonly Condition[] {
    return this.#files.get(fileName(kind, key))?.status.conditions ?? [];
  }

  /**
   * Makes the folder say this, and nothing else.
   * @returns what could not be written, for the log; it is tried again the next time
   */
  write(inputs: readonly StatusInput[]): Error[] {
    this.#files = new Map(
      inputs.map((input) => [fileName(input.kind, input.key), this.#describe(input)]),
    );
    const errors: Error[] = [];
    const attempt = (work: () => void) => {
      try {
        work();
      } catch (error) {
        errors.push(error instanceof Error ? error : new Error(String(error)));
      }
    };
    attempt(() => makeFolder(this.#folder));
    if (errors.length > 0) return errors;
    for (const name of this.#list()) {
      if (!this.#files.has(name) && OURS.test(name)) attempt(() => this.#remove(name));
    }
    for (const [name, file] of this.#files) attempt(() => this.#save(name, file));
    return errors;
  }

  #list(): readonly string[] {
    try {
      return readdirSync(this.#folder);
    } catch {
      // There is none yet, or what is there is set aside by the first write.
      return [];
    }
  }

  #remove(name: string): void {
    const path = join(this.#folder, name);
    this.#written.delete(name);
    // A directory is not ours, and in the way of no file.
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
      rmSync(path, { force: true });
    }
  }

  #save(name: string, file: StatusFile): void {
    const path = join(this.#folder, name);
    const before = this.#written.get(name);
    if (before !== undefined && sameData(file, before.file) && before.stamp === stampOf(path))
      return;
    replaceFile(path, `${JSON.stringify(file, null, 2)}\n`);
    this.#written.set(name, { file, stamp: stampOf(path) });
  }

  #describe({ kind, key, spec, status }: StatusInput): StatusFile {
    const before = this.#files.get(fileName(kind, key));
    const specDigest = createHash("sha256").update(JSON.stringify(spec)).digest("hex");
    const isSame = before?.specDigest === specDigest;
    const generation = (before?.metadata.generation ?? 0) + (isSame ? 0 : 1);
    const [namespace, objectName] = key.includes("/") ? key.split("/") : [undefined, key];
    return {
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
          datedCondition(verdict, before?.status.conditions ?? [], generation, this.#now()),
        ),
      },
    };
  }
}

/** Names are checked by then: no slashes but ours, no dots in front. */
function fileName(kind: string, key: string): string {
  return `${kind.toLowerCase()}.${key.replace("/", ".")}.json`;
}

function stampOf(path: string): string {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
}

/** As far as anything is made of it. Undefined: it is not one of ours, or not whole. */
function readStatusFile(path: string): StatusFile | undefined {
  if (!path.endsWith(".json")) return undefined;
  try {
    const file = readJsonFile(path, MAX_FILE_BYTES) as StatusFile;
    const { generation } = file.metadata;
    const isWhole =
      Number.isSafeInteger(generation) &&
      generation >= 0 &&
      typeof file.specDigest === "string" &&
      file.status.conditions.every(isCondition);
    return isWhole ? file : undefined;
  } catch {
    // Not JSON, or JSON of another shape.
    return undefined;
  }
}

function isCondition(value: unknown): boolean {
  const { lastTransitionTime, ...texts } = value as Record<string, unknown>;
  const areTexts = ["type", "status", "reason", "message"].every(
    (name) => typeof texts[name] === "string",
  );
  return (
    areTexts &&
    typeof lastTransitionTime === "string" &&
    !Number.isNaN(Date.parse(lastTransitionTime))
  );
}
