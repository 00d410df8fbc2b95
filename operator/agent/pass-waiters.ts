/** Waits for what a pass brings: the requests that come before it are not refused. */

export class PassWaiters {
  readonly #waiting = new Set<() => void>();

  /** A pass has ended. */
  passed(): void {
    for (const look of this.#waiting) look();
  }

  /**
   * Waits until the condition holds, which is asked now and after each pass.
   * @returns false: it did not within the time
   */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
    if (holds()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (isMet: boolean) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(isMet);
      };
      const look = () => {
        if (holds()) end(true);
      };
      const timer = setTimeout(end, timeoutMs, false);
      this.#waiting.add(look);
    });
  }
}
