/** For what goes wrong again and again: a line is worth saying when it is not what was said last. */

const AGAIN_AFTER_MS = 600_000;

export class Said {
  readonly #last = new Map<string, { readonly line: string; readonly at: number }>();

  /** Whether to say the line about the subject; the same one again only after ten minutes. */
  isNews(subject: string, line: string): boolean {
    const last = this.#last.get(subject);
    const now = performance.now();
    if (last?.line === line && now - last.at < AGAIN_AFTER_MS) return false;
    this.#forgetOld(now);
    this.#last.delete(subject);
    this.#last.set(subject, { line, at: now });
    return true;
  }

  /** It is well again, or gone. */
  forget(subject: string): void {
    this.#last.delete(subject);
  }

  subjects(): Iterable<string> {
    return this.#last.keys();
  }

  /** Subjects that nobody forgets, such as requests about pods, must not pile up. */
  #forgetOld(now: number): void {
    for (const [subject, { at }] of this.#last) {
      // The oldest come first.
      if (now - at < AGAIN_AFTER_MS) return;
      this.#last.delete(subject);
    }
  }
}
