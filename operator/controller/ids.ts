/**
 * Tunnel and session ids for objects that name none. They are random (RFC 3931 section 8.2 wants session
 * ids that nobody can guess): so an id whose object is gone, while its peer may still send, does not come
 * again, and nobody has to remember it.
 */
import { randomInt } from "node:crypto";
import { MAX_ID } from "../api/validate.ts";

export class Ids {
  /** By the object's uid: what has been given until the status that says so comes back. */
  readonly #given = new Map<string, number>();

  /** @param taken ids that the node has already */
  allocate(uid: string, taken: ReadonlySet<number>): number {
    const known = this.#given.get(uid);
    if (known !== undefined) return known;
    let id: number;
    do id = randomInt(1, MAX_ID + 1);
    while (taken.has(id));
    this.#given.set(uid, id);
    return id;
  }

  /** The object is gone, or its status says the id. */
  forget(uid: string): void {
    this.#given.delete(uid);
  }
}
