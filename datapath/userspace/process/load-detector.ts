/** A sleep of so many milliseconds says that there is little to do; none for so many, that there is much. */
const IDLE_MS = 1;
const BUSY_MS = 5;

/**
 * Whether the loop is busy: then it need not run at once when a frame comes, for the next one is not far behind,
 * and they share a system call. A lone frame never finds it so.
 */
export class LoadDetector {
  #isBusy = false;
  #since = 0;
  readonly #changed: (isBusy: boolean) => void;

  constructor(changed: (isBusy: boolean) => void) {
    this.#changed = changed;
  }

  /** The loop has waited from `before` to `now`, in milliseconds of a steady clock. */
  waited(before: number, now: number): void {
    if (now - before > IDLE_MS) {
      this.#since = now;
      this.#set(false);
    } else if (now - this.#since > BUSY_MS) this.#set(true);
  }

  #set(isBusy: boolean): void {
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#changed(isBusy);
  }
}
