/** A sleep longer than IDLE_MS means idle. BUSY_MS without one means busy. */
const IDLE_MS = 1;
const BUSY_MS = 5;

/**
 * Detects whether the loop is busy. A busy loop need not run immediately when a frame arrives: more frames follow soon
 * and share a system call. The loop is never busy when single frames arrive.
 */
export class LoadDetector {
  #isBusy = false;
  #since = 0;
  readonly #changed: (isBusy: boolean) => void;

  constructor(changed: (isBusy: boolean) => void) {
    this.#changed = changed;
  }

  /** Records that the loop waited from `before` to `now`, in milliseconds of a monotonic clock. */
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
