/**
 * Releases memory after a flood of control messages, which leave garbage in V8's old space. V8 collects the garbage of
 * an idle process in a task of Node's event loop. That loop never runs here (process/loop.ts), so without this the
 * process keeps the garbage until the next flood.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** The period in which messages are counted. */
const PERIOD_MS = 10_000;
/** More messages in a period are a flood: a thousand peers send some 700. */
const MAX_CALM_MESSAGES = 5000;

export class HeapRelease {
  readonly #collect: () => void;
  #messages = 0;
  /** The end of the period; Infinity: no message since the last period. */
  #periodEnd = Number.POSITIVE_INFINITY;
  /** True after a flood, until the next collection. */
  #isOwed = false;

  /** @param collect takes some milliseconds, in which no frame is forwarded */
  constructor(collect = collectGarbage) {
    this.#collect = collect;
  }

  /** Counts a control message. Allocates nothing. @param now milliseconds of a monotonic clock */
  note(now: number): void {
    this.#messages++;
    if (this.#periodEnd === Number.POSITIVE_INFINITY) this.#periodEnd = now + PERIOD_MS;
  }

  /** The time at which `poll` must be called; Infinity: never. */
  get deadline(): number {
    return this.#periodEnd;
  }

  /** Collects once, in the first calm period after a flood. */
  poll(now: number): void {
    if (now < this.#periodEnd) return;
    const isCalm = this.#messages <= MAX_CALM_MESSAGES;
    this.#messages = 0;
    this.#periodEnd = isCalm ? Number.POSITIVE_INFINITY : now + PERIOD_MS;
    if (isCalm && this.#isOwed) this.#collect();
    this.#isOwed = !isCalm;
  }
}

/** Other kinds of collection leave the freed pages to V8, until a task of the event loop releases them. */
const ALL = { type: "major", execution: "sync", flavor: "last-resort" };

/** Collects all garbage of this thread, and releases its pages to the kernel. */
export function collectGarbage(): void {
  // Only contexts that are created after the flag is set have the function.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options: typeof ALL) => void;
  collect(ALL);
}
