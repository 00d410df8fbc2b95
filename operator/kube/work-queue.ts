/**
 * Queue of keys. A key is queued once, however often it is added, and is never worked on twice at the same
 * time. A failed key is retried with backoff.
 */
import { JitteredBackoff } from "./backoff.ts";
import { pause } from "./client.ts";

/** The work, and its limits. */
export interface WorkQueueOptions {
  /** Works on one key. If it throws, `failed` gets the error, and the key is retried. */
  work(key: string): Promise<void>;
  failed(key: string, error: unknown): void;
  readonly concurrency: number;
  /** Rate limit of all keys together. A burst may have this number of keys. */
  readonly maxPerSecond: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
}

/** Works on keys with limited rate and concurrency. */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #working = new Set<string>();
  /** Keys that were added while they were being worked on. */
  readonly #again = new Set<string>();
  readonly #timers = new Map<string, { readonly timer: NodeJS.Timeout; readonly due: number }>();
  readonly #backoffs = new Map<string, JitteredBackoff>();
  #wake: () => void = () => {};
  #tokens: number;
  #refilledAt = performance.now();

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#tokens = options.maxPerSecond;
  }

  /** Returns the number of waiting keys, including delayed ones. */
  get depth(): number {
    return this.#waiting.size + this.#again.size + this.#timers.size;
  }

  /** True if no key waits or is being worked on. */
  get isIdle(): boolean {
    return this.depth === 0 && this.#working.size === 0;
  }

  add(key: string): void {
    this.#clearTimer(key);
    if (this.#working.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#wake();
  }

  /** Adds the key after the delay, unless it is due sooner already. */
  addAfter(key: string, milliseconds: number): void {
    const due = performance.now() + milliseconds;
    const before = this.#timers.get(key);
    if (this.#waiting.has(key) || this.#again.has(key)) return;
    if (before !== undefined && before.due <= due) return;
    this.#clearTimer(key);
    this.#timers.set(key, { timer: setTimeout(() => this.add(key), milliseconds), due });
  }

  #clearTimer(key: string): void {
    clearTimeout(this.#timers.get(key)?.timer);
    this.#timers.delete(key);
  }

  /** Works until the signal is aborted and all running work has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const abort = () => this.#wake();
    signal.addEventListener("abort", abort, { once: true });
    const running = new Set<Promise<void>>();
    while (!signal.aborted) {
      const [key] = this.#waiting;
      if (key === undefined || running.size >= this.#options.concurrency) {
        await this.#woken();
        continue;
      }
      const wait = this.#waitForToken();
      if (wait > 0) {
        await pause(wait, signal).catch(() => {});
        continue;
      }
      this.#waiting.delete(key);
      const task = this.#workOn(key).finally(() => {
        running.delete(task);
        this.#wake();
      });
      running.add(task);
    }
    await Promise.all(running);
    for (const key of [...this.#timers.keys()]) this.#clearTimer(key);
    signal.removeEventListener("abort", abort);
  }

  async #workOn(key: string): Promise<void> {
    this.#working.add(key);
    try {
      await this.#options.work(key);
      this.#backoffs.delete(key);
    } catch (error) {
      this.#options.failed(key, error);
      const { firstBackoffMs, mostBackoffMs } = this.#options;
      const backoff = this.#backoffs.get(key) ?? new JitteredBackoff(firstBackoffMs, mostBackoffMs);
      this.#backoffs.set(key, backoff);
      this.addAfter(key, backoff.next());
    } finally {
      this.#working.delete(key);
      if (this.#again.delete(key)) this.add(key);
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = () => {};
        resolve();
      };
    });
  }

  /** Takes a token. @returns 0, or the milliseconds until a token is available */
  #waitForToken(): number {
    const { maxPerSecond } = this.#options;
    const now = performance.now();
    const refill = ((now - this.#refilledAt) / 1000) * maxPerSecond;
    this.#tokens = Math.min(maxPerSecond, this.#tokens + refill);
    this.#refilledAt = now;
    if (this.#tokens < 1) return ((1 - this.#tokens) / maxPerSecond) * 1000;
    this.#tokens -= 1;
    return 0;
  }
}
