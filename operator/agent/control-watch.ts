/** Polls the datapath process for changes of control connections, because the process sends no events. */
import type { Listing } from "../../datapath/datapath.ts";

const POLL_MS = 200;
/** Minimum time between two reports: a thousand rejected sessions must not cause a thousand passes. */
const GAP_MS = 1000;

export class ControlWatch {
  readonly #turns: () => Promise<number>;
  readonly #changed: () => void;
  #timer: NodeJS.Timeout | null = null;
  #known: number | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  #isStopped = false;

  /**
   * @param turns returns the revision of the process's control state
   * @param changed is called after a change, at most once in GAP_MS
   */
  constructor(turns: () => Promise<number>, changed: () => void) {
    this.#turns = turns;
    this.#changed = changed;
  }

  /** Notes the revision that a pass has seen. @param matters true if there are control connections to watch */
  saw({ turns }: Listing, matters: boolean): void {
    this.#known = turns;
    if (!matters || this.#isStopped) return this.#rest();
    this.#timer ??= setInterval(() => void this.#look(), POLL_MS);
  }

  /** Stops watching forever. */
  stop(): void {
    this.#isStopped = true;
    this.#rest();
  }

  #rest(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    let now: number;
    try {
      now = await this.#turns();
    } catch {
      // The datapath client reports a lost process.
      return;
    } finally {
      this.#isLooking = false;
    }
    if (now === this.#known || this.#timer === null) return;
    if (performance.now() - this.#toldAt < GAP_MS) return;
    this.#known = now;
    this.#toldAt = performance.now();
    this.#changed();
  }
}
