/**
 * What was known last, in a file: an agent that starts anew while the API server is away goes on with it.
 * It holds cookies, and so lies where only root reads, in memory (/run).
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { sync as writeFileAtomic } from "write-file-atomic";
import type { Document } from "../../convert/intake.ts";

export interface Cached {
  readonly nodeName: string;
  readonly documents: readonly Document[];
  readonly secrets: unknown;
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
      const cached = JSON.parse(readFileSync(this.#path, "utf8")) as Cached;
      return cached.nodeName === nodeName ? cached : null;
    } catch {
      return null;
    }
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /** @throws where it cannot be written */
  save(cached: Cached): void {
    const text = JSON.stringify(cached);
    if (text === this.#written) return;
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileAtomic(this.#path, text, { mode: 0o600, fsync: false });
    this.#written = text;
  }
}
