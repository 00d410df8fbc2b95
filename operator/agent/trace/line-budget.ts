/** Bounds the lines that a trace shows in a second, and counts the others. Pure: the caller starts each second. */

export class LineBudget {
  readonly #perSecond: number;
  #spent = 0;
  /** Lines that were not shown; the key is the label in the summary. */
  readonly #rest = new Map<string, number>();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** Returns false if the budget of this second is spent. @param words label in the summary of the rest */
  spend(words = ""): boolean {
    if (this.#spent < this.#perSecond) {
      this.#spent++;
      return true;
    }
    this.leaveOut(1, words);
    return false;
  }

  /** Counts lines that are not shown for another reason. */
  leaveOut(count: number, words = ""): void {
    if (count > 0) this.#rest.set(words, (this.#rest.get(words) ?? 0) + count);
  }

  /** Starts the next second. @returns the rest of the last second, by its words */
  turn(): ReadonlyMap<string, number> {
    const rest = new Map(this.#rest);
    this.#rest.clear();
    this.#spent = 0;
    return rest;
  }
}
