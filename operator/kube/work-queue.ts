/**
 * Keys to be worked on. A key is in it once, however often it is added, and is never worked on twice at
 * the same time; one that fails comes again, later each time.
 */
import { JitteredBackoff } from "./backoff.ts";
import { pause } from "./client.ts";

export interface WorkQueueOptions {
  /** Works on one key. What it throws is given to `failed`, and the key comes again. */
  work(key: string): Promise<void>;
  failed(key: string, error: unknown): void;
  readonly concurrency: number;
  /** Of all keys together; bursts of as many are let through. */
  readonly maxPerSecond: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #working = new Set<string>();
  /** Added again while they are worked on. */
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

  /** Keys that wait, those that wait for their time too. */
  get depth(): number {
    return this.#waiting.size + this.#again.size + this.#timers.size;
  }

  /** Whether nothing waits, and nobody works. */
  get isIdle(): boolean {
    return this.depth === 0 && this.#working.size === 0;
  }

  add(key: string): void {
    this.#clearTimer(key);
    if (this.#working.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#wake();
  }

  /** Unless it comes sooner for another reason. */
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

  /** Works until the signal is aborted, and what is under way has ended. */
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

  /** Takes a token, or says in how many milliseconds there is one. */
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
