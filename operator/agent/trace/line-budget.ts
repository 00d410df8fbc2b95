/** Bounds what a trace shows in a second, and counts the rest. Pure: the caller says when a second is over. */

export class LineBudget {
  readonly #perSecond: number;
  #spent = 0;
  /** Lines that were not shown; the key is the label in the summary. */
  readonly #rest = new Map<string, number>();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** False: no more can be shown in this second. @param words say what it is in the count of the rest */
  spend(words = ""): boolean {
    if (this.#spent < this.#perSecond) {
      this.#spent++;
      return true;
    }
    this.leaveOut(1, words);
    return false;
  }

  /** Counts what cannot be shown for another reason. */
  leaveOut(count: number, words = ""): void {
    if (count > 0) this.#rest.set(words, (this.#rest.get(words) ?? 0) + count);
  }

  /** Begins another second. @returns the rest of the one before, by its words */
  turn(): ReadonlyMap<string, number> {
    const rest = new Map(this.#rest);
    this.#rest.clear();
    this.#spent = 0;
    return rest;
  }
}
