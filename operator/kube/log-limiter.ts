/** Keeps a repeated fault from filling the log. */

const AGAIN_AFTER_MS = 600_000;

/** Logs a line about a subject if it differs from the last line, or after ten minutes. */
export class LogLimiter {
  readonly #last = new Map<string, { readonly line: string; readonly at: number }>();

  /** True if the caller should log the line: it differs from the subject's last line, or that is ten minutes old. */
  shouldLog(subject: string, line: string): boolean {
    const last = this.#last.get(subject);
    const now = performance.now();
    if (last?.line === line && now - last.at < AGAIN_AFTER_MS) return false;
    this.#forgetOld(now);
    this.#last.delete(subject);
    this.#last.set(subject, { line, at: now });
    return true;
  }

  /** Call when the subject has recovered or does not exist anymore. */
  forget(subject: string): void {
    this.#last.delete(subject);
  }

  subjects(): Iterable<string> {
    return this.#last.keys();
  }

  /** Forgets old lines. Callers do not forget all subjects, such as requests about pods. */
  #forgetOld(now: number): void {
    for (const [subject, { at }] of this.#last) {
      // The oldest lines come first.
      if (now - at < AGAIN_AFTER_MS) return;
      this.#last.delete(subject);
    }
  }
}
