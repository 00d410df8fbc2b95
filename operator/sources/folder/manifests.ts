/** Manifests in a folder: every YAML file of it, read anew with every pass. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { watch } from "chokidar";
import { parseAllDocuments } from "yaml";
import type { Document, Rejection } from "../../resolve/intake.ts";

const EXTENSION = /\.(ya?ml|json)$/i;
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
/** Aliases that multiply into more than this are an attack, not a manifest. */
const MAX_ALIASES = 100;

export interface Manifests {
  readonly documents: readonly Document[];
  /** Files that cannot be read, or are not YAML. */
  readonly rejections: readonly Rejection[];
}

/** A folder of manifests. What has not changed is not parsed again. */
export class ManifestFolder {
  readonly #path: string;
  /** By file name, as it was read last. */
  #known: ReadonlyMap<string, Parsed> = new Map();

  constructor(path: string) {
    this.#path = path;
  }

  /** All documents of its YAML and JSON files, by file name. @throws where there is no folder */
  read(): Manifests {
    const known = new Map<string, Parsed>();
    const rejections: Rejection[] = [];
    const names = readdirSync(this.#path).filter(
      (name) => EXTENSION.test(name) && !name.startsWith("."),
    );
    for (const name of names.sort().slice(0, MAX_FILES)) {
      try {
        known.set(name, this.#readFile(name));
      } catch (error) {
        const [reason = "unreadable"] = (error as Error).message.split("\n");
        rejections.push(rejectFile(name, reason.replace(/:$/, "")));
      }
    }
    if (names.length > MAX_FILES) {
      rejections.push(rejectFile(this.#path, `more than ${MAX_FILES} files`));
    }
    this.#known = known;
    return { documents: [...known.values()].flatMap(({ documents }) => documents), rejections };
  }

  #readFile(name: string): Parsed {
    const text = readText(join(this.#path, name));
    const before = this.#known.get(name);
    return before?.text === text ? before : { text, documents: parseFile(name, text) };
  }
}

interface Parsed {
  readonly text: string;
  readonly documents: readonly Document[];
}

function rejectFile(origin: string, reason: string): Rejection {
  const remedy = "correct it, or delete it; until then nothing that runs is taken away";
  return {
    origin,
    kind: undefined,
    key: undefined,
    problems: [{ path: "the file", value: undefined, reason, remedy }],
  };
}

function readText(path: string): string {
  const stat = statSync(path);
  // Reading a pipe would wait for who writes to it.
  if (!stat.isFile()) throw new TypeError("it is not a file");
  const { size } = stat;
  if (size > MAX_FILE_BYTES) throw new RangeError(`larger than ${MAX_FILE_BYTES} bytes`);
  // A writer that has only got as far as to truncate it has not deleted what was in it.
  if (size === 0) throw new RangeError("it is empty");
  return readFileSync(path, "utf8");
}

function parseFile(name: string, text: string): Document[] {
  // An empty stream, or documents: both can be walked.
  return Array.from(parseAllDocuments(text), (document, index) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const origin = index === 0 ? name : `${name}, document ${index + 1}`;
    return { origin, content: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown };
  });
}

/** Calls `changed` when something in the folders may have changed. Returns how to stop. */
export function watchFolders(folders: readonly string[], changed: () => void): () => void {
  const watcher = watch([...folders], { ignoreInitial: true, depth: 3 });
  watcher.on("all", changed);
  // A folder that cannot be watched is still read by every periodic pass.
  watcher.on("error", () => {});
  return () => void watcher.close();
}
