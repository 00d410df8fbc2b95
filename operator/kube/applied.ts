/**
 * What was applied to objects and has not been seen to arrive: until the watch shows it, the object in
 * memory looks as if it still had to be applied.
 */
import type { KubeMeta } from "./object.ts";

/** What has not been seen to arrive by then is applied again. */
const KEPT_MS = 600_000;

interface Last {
  readonly version: string;
  readonly body: string;
  /** By performance.now(). */
  readonly at: number;
}

export class Applied {
  readonly #last = new Map<string, Last>();

  get size(): number {
    return this.#last.size;
  }

  /** Whether just this was applied to the object since it was last seen to change. */
  isUnderWay(part: string, meta: KubeMeta, body: object): boolean {
    const last = this.#last.get(keyOf(part, meta));
    return last?.version === meta.resourceVersion && last?.body === JSON.stringify(body);
  }

  /** @param meta as it was seen when it was applied */
  note(part: string, meta: KubeMeta, body: object): void {
    const version = meta.resourceVersion ?? "";
    const key = keyOf(part, meta);
    const at = performance.now();
    this.#forgetOld(at);
    this.#last.delete(key);
    this.#last.set(key, { version, body: JSON.stringify(body), at });
  }

  /** An object that has gone while something was applied to it is forgotten before that is noted. */
  #forgetOld(now: number): void {
    for (const [key, { at }] of this.#last) {
      // The oldest come first.
      if (now - at < KEPT_MS) return;
      this.#last.delete(key);
    }
  }

  forget(part: string, meta: Pick<KubeMeta, "uid">): void {
    this.#last.delete(keyOf(part, meta));
  }
}

const keyOf = (part: string, { uid = "" }: Pick<KubeMeta, "uid">): string => `${part} ${uid}`;
