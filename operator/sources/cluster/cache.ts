/**
 * What was known last, in a file: an agent that starts anew while the API server is away goes on with it.
 * It holds cookies, and so lies where only root reads, in memory (/run).
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

  /** Null: there is none that can be used. */
  load(nodeName: string): Cached | null {
    try {
      const cached = readJsonFile(this.#path, MAX_FILE_BYTES) as Cached;
      const isWhole = cached.documents.every(isDocument) && isSavedSecrets(cached.secrets);
      return cached.nodeName === nodeName && isWhole ? cached : null;
    } catch {
      // None is there, or it holds something else.
      return null;
    }
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }

  /** @throws where it cannot be written */
  save(cached: Cached): void {
    const text = JSON.stringify(cached);
    if (text === this.#written) return;
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    replaceFile(this.#path, text);
    this.#written = text;
  }
}

/** The intake checks the rest of the object. */
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
