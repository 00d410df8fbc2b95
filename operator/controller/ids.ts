/**
 * Allocates tunnel and session IDs for objects that have none. IDs are random: RFC 3931 section 8.2 requires
 * session IDs that cannot be guessed, and the ID of a deleted object, to which its peer may still send, is
 * practically never reused.
 */
import { randomInt } from "node:crypto";
import { MAX_ID } from "../api/validate.ts";

/** Allocated IDs that the watch does not show in a status yet. */
export class Ids {
  /** IDs by the object's UID. */
  readonly #allocated = new Map<string, number>();

  /** Returns the object's ID, or allocates one. @param taken IDs in use on the node */
  allocate(uid: string, taken: ReadonlySet<number>): number {
    const known = this.#allocated.get(uid);
    if (known !== undefined) return known;
    let id: number;
    do id = randomInt(1, MAX_ID + 1);
    while (taken.has(id));
    this.#allocated.set(uid, id);
    return id;
  }

  /** Call when the object does not exist anymore, or its status has the ID. */
  forget(uid: string): void {
    this.#allocated.delete(uid);
  }
}
