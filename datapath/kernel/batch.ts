/** Changes on their way into the kernel, and what has become of each. */
import { setTimeout as sleep } from "node:timers/promises";
import { isErrno } from "../../linux/errno.ts";
import type { Tunnel } from "../../model/model.ts";
import { type Reply, toWireError } from "../../rpc/errors.ts";
import type { Change } from "../datapath.ts";

export type PutSession = Extract<Change, { op: "putSession" }>;

type Run =
  | { readonly op: "putTunnel"; readonly tunnels: readonly Tunnel[] }
  | { readonly op: "putSession"; readonly puts: readonly PutSession[] }
  | Extract<Change, { op: "deleteTunnel" | "deleteSession" | "deleteDevice" }>;

/** How long an id, a port or a name may take to become free behind a deletion. */
const LINGER_MS = 3000;
const FIRST_RETRY_MS = 2;
const LAST_RETRY_MS = 100;
/** What a deletion that is not quite over makes of a creation. */
const LINGERING = ["EEXIST", "EADDRINUSE"] as const;

export class Batch {
  readonly #changes: readonly Change[];
  readonly #replies: Reply<null>[];
  #hasDeleted = false;

  constructor(changes: readonly Change[]) {
    this.#changes = changes;
    this.#replies = changes.map(() => ({ result: null }));
  }

  get replies(): readonly Reply<null>[] {
    return this.#replies;
  }

  /** What follows upon each other of one kind, from there on. */
  runFrom(start: number): Run {
    const first = this.#changes[start];
    if (first === undefined) throw new RangeError(`no change ${start}`);
    if (first.op !== "putTunnel" && first.op !== "putSession") return first;
    const tunnels: Tunnel[] = [];
    const puts: PutSession[] = [];
    for (const change of this.#changes.slice(start)) {
      if (change.op !== first.op) break;
      if (change.op === "putTunnel") tunnels.push(change.tunnel);
      if (change.op === "putSession") puts.push(change);
    }
    return first.op === "putTunnel" ? { op: "putTunnel", tunnels } : { op: "putSession", puts };
  }

  /** Something has been deleted: what is created from now on may meet what is left of it. */
  deletes(): void {
    this.#hasDeleted = true;
  }

  fail(index: number, error: unknown): void {
    this.#replies[index] = { error: toWireError(error) };
  }

  /** Does what a change asks for; what it throws is the change's reply. */
  async settle(index: number, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.fail(index, error);
    }
  }

  /**
   * Creates items, and again those that meet what has just been deleted, for as long as that may linger.
   * @returns the errors of those that could not be created
   */
  async create<T>(
    items: readonly T[],
    attempt: (some: readonly T[]) => readonly (Error | null)[],
  ): Promise<ReadonlyMap<T, Error>> {
    const errors = new Map<T, Error>();
    const deadline = performance.now() + LINGER_MS;
    let rest = items;
    for (let wait = FIRST_RETRY_MS; rest.length > 0; wait = Math.min(wait * 2, LAST_RETRY_MS)) {
      const isLate = !this.#hasDeleted || performance.now() > deadline;
      const results = attempt(rest);
      const again: T[] = [];
      for (const [index, item] of rest.entries()) {
        const error = results[index] ?? null;
        if (error === null) continue;
        if (isLate || !isErrno(error, ...LINGERING)) errors.set(item, error);
        else again.push(item);
      }
      rest = again;
      if (rest.length > 0) await sleep(wait);
    }
    return errors;
  }
}
