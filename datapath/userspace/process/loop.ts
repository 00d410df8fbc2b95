/**
 * The loop of the process. Each round waits for readiness, and serves each device and socket at most one batch (fewer
 * if it has used more than its share: deficit.ts). An idle loop sleeps without a timer. Control requests run between
 * batches on the same thread, so that no packet meets a partial change.
 */

import { EPOLLIN, Epoll } from "../../../linux/epoll.ts";
import { closeFd } from "../../../linux/fd.ts";
import { Policy, setPolicy } from "../../../linux/scheduler.ts";
import { type Account, Rounds } from "../packet/deficit.ts";
import { LoadDetector } from "./load-detector.ts";

/** Handles the readiness of a descriptor. */
export interface Handler {
  ready(now: number): void;
  /** True: its queued datagrams may wait for the next handlers, and share a system call with those of the others. */
  readonly queues: boolean;
  /** The account of its share; undefined: it is served in each round. */
  readonly account?: Account;
}

/** Work that handlers leave to the end of a round, and work that is due at a time. */
export interface Batches {
  flush(): void;
  expire(now: number): void;
  nextDeadline(): number;
}

export class Loop {
  readonly epoll = new Epoll();
  readonly #batches: Batches;
  /** Handlers by descriptor. */
  readonly #handlers: (Handler | undefined)[] = [];
  readonly #load = new LoadDetector((isBusy) => setPolicy(isBusy ? Policy.Batch : Policy.Other));
  readonly #rounds = new Rounds();
  #stopping = false;

  constructor(batches: Batches) {
    this.#batches = batches;
  }

  /** Runs until `stop`. */
  run(): void {
    while (!this.#stopping) this.#round(this.#timeoutMs());
  }

  stop(): void {
    this.#stopping = true;
  }

  watch(fd: number, interest: number, handler: Handler): void {
    this.epoll.add(fd, interest);
    this.#handlers[fd] = handler;
  }

  /** Watches a descriptor. Closes it on failure. */
  watchOrClose(fd: number, handler: Handler): void {
    try {
      this.watch(fd, EPOLLIN, handler);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  unwatch(fd: number): void {
    this.epoll.remove(fd);
    this.#handlers[fd] = undefined;
  }

  unwatchAndClose(fd: number): void {
    this.unwatch(fd);
    closeFd(fd);
  }

  /** Returns milliseconds of a monotonic clock. */
  now(): number {
    return performance.now();
  }

  #round(timeoutMs: number): void {
    const before = this.now();
    const count = this.epoll.wait(timeoutMs);
    const now = this.now();
    this.#load.waited(before, now);
    this.#rounds.begin();
    for (let i = 0; i < count; i++) {
      const handler = this.#handlers[this.epoll.readyFd(i)];
      if (handler === undefined || !this.#rounds.admits(handler.account)) continue;
      if (!handler.queues) this.#batches.flush();
      handler.ready(now);
    }
    this.#rounds.end();
    this.#batches.flush();
    this.#batches.expire(now);
  }

  #timeoutMs(): number {
    const deadline = this.#batches.nextDeadline();
    if (deadline === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.ceil(deadline - this.now()));
  }
}
