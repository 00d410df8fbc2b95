/** Changes to apply to the kernel, and the result of each. */
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

/** The time that the kernel may need after a deletion to release an ID, a port or a name. */
const LINGER_MS = 3000;
const FIRST_RETRY_MS = 2;
const LAST_RETRY_MS = 100;
/** Errors of a creation while a deletion is not complete. */
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

  /** Returns the consecutive changes of one kind that begin at `start`. */
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

  /** Records a deletion: later creations may find an ID, port or name still in use. */
  deletes(): void {
    this.#hasDeleted = true;
  }

  fail(index: number, error: unknown): void {
    this.#replies[index] = { error: toWireError(error) };
  }

  /** Runs a change. An error that it throws becomes the change's reply. */
  async settle(index: number, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.fail(index, error);
    }
  }

  /**
   * Creates items. Retries those that conflict with a deletion which the kernel has not completed, for `LINGER_MS`.
   * @returns the errors of the items that could not be created
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
