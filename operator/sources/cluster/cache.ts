/**
 * The object cache: a file with the last known objects, for an agent that restarts while the API server is unavailable.
 * It holds cookies, so it is in memory (/run), readable by root only.
 */
import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { readJsonFile } from "../../../files/read-file.ts";
import { replaceFile } from "../../../files/replace-file.ts";
import type { Document } from "../../resolve/intake.ts";
import { isSavedSecrets, type SavedSecrets } from "./secrets.ts";

const MAX_FILE_BYTES = 256 * 1024 * 1024;

export interface Cached {
  readonly nodeName: string;
  readonly documents: readonly Document[];
  readonly secrets: SavedSecrets;
}

export class Cache {
  readonly #path: string;
  #written = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns the cached objects; null: no usable file. */
  load(nodeName: string): Cached | null {
    try {
      const cached = readJsonFile(this.#path, MAX_FILE_BYTES) as Cached;
      const isWhole = cached.documents.every(isDocument) && isSavedSecrets(cached.secrets);
      return cached.nodeName === nodeName && isWhole ? cached : null;
    } catch {
      // No file, or not a cache.
      return null;
    }
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }

  /** @throws Error if the file cannot be written */
  save(cached: Cached): void {
    const text = JSON.stringify(cached);
    if (text === this.#written) return;
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    replaceFile(this.#path, text);
    this.#written = text;
  }
}

/** True if the value has a document's fields. The intake checks the rest. */
function isDocument(value: unknown): boolean {
  const { origin, content } = value as { origin?: unknown; content?: unknown };
  const { kind, metadata, spec } = content as Readonly<Record<string, unknown>>;
  const { name } = metadata as { name?: unknown };
  return (
    typeof origin === "string" &&
    typeof kind === "string" &&
    typeof name === "string" &&
    typeof spec === "object" &&
    spec !== null
  );
}
