/**
 * Remembers applies that the watch has not shown yet. Until then the object in memory looks as if the apply
 * were still missing.
 */
import type { KubeMeta } from "./object.ts";

/** An apply that the watch has not shown after this time is repeated. */
const KEPT_MS = 600_000;

interface Last {
  readonly version: string;
  readonly body: string;
  /** performance.now() of the apply. */
  readonly at: number;
}

/** The last apply to each part of each object. */
export class PendingApplies {
  readonly #last = new Map<string, Last>();

  get size(): number {
    return this.#last.size;
  }

  /** True if `body` was the last apply to the part, and the watch has shown no change since. */
  isPending(part: string, meta: KubeMeta, body: object): boolean {
    const last = this.#last.get(keyOf(part, meta));
    return last?.version === meta.resourceVersion && last?.body === JSON.stringify(body);
  }

  /** Remembers an apply. @param meta the object's metadata before the apply */
  note(part: string, meta: KubeMeta, body: object): void {
    const version = meta.resourceVersion ?? "";
    const key = keyOf(part, meta);
    const at = performance.now();
    this.#forgetOld(at);
    this.#last.delete(key);
    this.#last.set(key, { version, body: JSON.stringify(body), at });
  }

  /** Forgets old entries: an object that was deleted during an apply is never forgotten by its caller. */
  #forgetOld(now: number): void {
    for (const [key, { at }] of this.#last) {
      // The oldest entries come first.
      if (now - at < KEPT_MS) return;
      this.#last.delete(key);
    }
  }

  forget(part: string, meta: Pick<KubeMeta, "uid">): void {
    this.#last.delete(keyOf(part, meta));
  }
}

const keyOf = (part: string, { uid = "" }: Pick<KubeMeta, "uid">): string => `${part} ${uid}`;
