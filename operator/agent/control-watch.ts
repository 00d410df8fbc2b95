/** Notices what becomes of control connections between two passes: the datapath tells only who asks. */
import type { Listing } from "../../datapath/datapath.ts";

const POLL_MS = 200;
/** A thousand sessions that are refused again and again are not as many passes. */
const GAP_MS = 1000;

export class ControlWatch {
  readonly #turns: () => Promise<number>;
  readonly #changed: () => void;
  #timer: NodeJS.Timeout | null = null;
  #known: number | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  #isStopped = false;

  /** @param changed is called soon after a change, and seldom */
  constructor(turns: () => Promise<number>, changed: () => void) {
    this.#turns = turns;
    this.#changed = changed;
  }

  /** What a pass has seen. Without control connections nothing is watched. @param matters whether there are any */
  saw({ turns }: Listing, matters: boolean): void {
    this.#known = turns;
    if (!matters || this.#isStopped) return this.#rest();
    this.#timer ??= setInterval(() => void this.#look(), POLL_MS);
  }

  /** For good. */
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
      // A datapath that is gone is found by others.
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
