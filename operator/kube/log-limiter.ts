/** Keeps a fault that happens again and again from filling the log: a line is logged when it differs from the last. */

const AGAIN_AFTER_MS = 600_000;

export class LogLimiter {
  readonly #last = new Map<string, { readonly line: string; readonly at: number }>();

  /** True if the line is to be logged: it is not the last one about the subject, or that is ten minutes old. */
  shouldLog(subject: string, line: string): boolean {
    const last = this.#last.get(subject);
    const now = performance.now();
    if (last?.line === line && now - last.at < AGAIN_AFTER_MS) return false;
    this.#forgetOld(now);
    this.#last.delete(subject);
    this.#last.set(subject, { line, at: now });
    return true;
  }

  /** Call when the subject is well again, or gone. */
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
