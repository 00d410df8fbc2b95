/**
 * Writes the status of objects into the state folder: a file for each object, replaced atomically and only on change.
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
/** Status files, and remains of interrupted writes of this version and earlier ones. */
const OURS = /\.json(\.new|\.\d+)?$/;

interface StatusFile {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; generation: number };
  /** A digest of the spec, to count generations. The spec itself may hold cookies. */
  readonly specDigest: string;
  readonly status: Readonly<Record<string, unknown>> & {
    readonly conditions: readonly Condition[];
  };
}

/**
 * A written file. Another inode, time or size means that another program has changed the file.
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
   * Ignores files that are not complete status files. The first write replaces or removes them.
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

  /** Returns the last written conditions, with their times. */
  conditionsOf(kind: Kind, key: string): readonly Condition[] {
    return this.#files.get(fileName(kind, key))?.status.conditions ?? [];
  }

  /**
   * Writes the status of these objects, and removes all other status files.
   * @returns the errors, for the log; the next write retries
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
      // The folder does not exist yet, or the first write moves the file of its name aside.
      return [];
    }
  }

  #remove(name: string): void {
    const path = join(this.#folder, name);
    this.#written.delete(name);
    // A directory is not a status file, and blocks no file.
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

/** Returns the file name. The names in `key` are validated: no other slashes, no leading dots. */
function fileName(kind: string, key: string): string {
  return `${kind.toLowerCase()}.${key.replace("/", ".")}.json`;
}

function stampOf(path: string): string {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
}

/** Returns a checked status file; undefined: not a complete status file. */
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
    // Not JSON, or another structure.
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
