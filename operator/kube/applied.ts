/**
 * What was applied to objects and has not been seen to arrive: until the watch shows it, the object in
 * memory looks as if it still had to be applied.
 */
import type { KubeMeta } from "./object.ts";

export class Applied {
  readonly #last = new Map<string, { readonly version: string; readonly body: string }>();

  /** Whether just this was applied to the object since it was last seen to change. */
  isUnderWay(part: string, meta: KubeMeta, body: object): boolean {
    const last = this.#last.get(keyOf(part, meta));
    return last?.version === meta.resourceVersion && last?.body === JSON.stringify(body);
  }

  /** @param meta as it was seen when it was applied */
  note(part: string, meta: KubeMeta, body: object): void {
    const version = meta.resourceVersion ?? "";
    this.#last.set(keyOf(part, meta), { version, body: JSON.stringify(body) });
  }

  forget(part: string, meta: Pick<KubeMeta, "uid">): void {
    this.#last.delete(keyOf(part, meta));
  }
}

const keyOf = (part: string, { uid = "" }: Pick<KubeMeta, "uid">): string => `${part} ${uid}`;
