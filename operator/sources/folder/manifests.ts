/** Manifests of a folder: each reconcile reads every YAML and JSON file. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { watch } from "chokidar";
import { parseAllDocuments } from "yaml";
import type { Document, Rejection } from "../../resolve/intake.ts";

const EXTENSION = /\.(ya?ml|json)$/i;
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
/** Bound on the expansion of YAML aliases, against manifests that multiply them. */
const MAX_ALIASES = 100;

export interface Manifests {
  readonly documents: readonly Document[];
  /** Files that cannot be read, or are not YAML. */
  readonly rejections: readonly Rejection[];
}

/** A folder of manifests. Unchanged files are not parsed again. */
export class ManifestFolder {
  readonly #path: string;
  /** Files of the last read, by name. */
  #known: ReadonlyMap<string, Parsed> = new Map();

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns the documents of all YAML and JSON files, ordered by file name. @throws Error if there is no folder */
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
  const remedy = "fix or delete it; until then, running objects are kept";
  return {
    origin,
    kind: undefined,
    key: undefined,
    problems: [{ path: "the file", value: undefined, reason, remedy }],
  };
}

function readText(path: string): string {
  const stat = statSync(path);
  // Reading a pipe would block until it has a writer.
  if (!stat.isFile()) throw new TypeError("not a regular file");
  const { size } = stat;
  if (size > MAX_FILE_BYTES) throw new RangeError(`larger than ${MAX_FILE_BYTES} bytes`);
  // A writer may just have truncated the file, so an empty file does not delete its objects.
  if (size === 0) throw new RangeError("empty");
  return readFileSync(path, "utf8");
}

function parseFile(name: string, text: string): Document[] {
  // An empty stream and a list of documents can both be iterated.
  return Array.from(parseAllDocuments(text), (document, index) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const origin = index === 0 ? name : `${name}, document ${index + 1}`;
    return { origin, content: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown };
  });
}

/** Calls `changed` after each possible change in the folders. Returns a function that stops watching. */
export function watchFolders(folders: readonly string[], changed: () => void): () => void {
  const watcher = watch([...folders], { ignoreInitial: true, depth: 3 });
  watcher.on("all", changed);
  // Each periodic reconcile still reads a folder that cannot be watched.
  watcher.on("error", () => {});
  return () => void watcher.close();
}
