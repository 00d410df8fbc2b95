/** Lets requests wait for the result of a pass. */

export class PassWaiters {
  readonly #waiting = new Set<() => void>();

  /** To be called after each pass. */
  passed(): void {
    for (const look of this.#waiting) look();
  }

  /**
   * Waits until the condition holds. Checks it now and after each pass.
   * @returns false if the time ran out
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
