/** Deadlines of items: a binary heap that knows the position of each item. */

interface Entry<T> {
  readonly item: T;
  at: number;
  place: number;
}

export class Deadlines<T> {
  readonly #entries = new Map<T, Entry<T>>();
  /** No entry is earlier than its parent. */
  readonly #heap: Entry<T>[] = [];

  /** The earliest deadline; Infinity: none. */
  get earliest(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** The item with the earliest deadline; undefined: none. */
  get first(): T | undefined {
    return this.#heap[0]?.item;
  }

  set(item: T, at: number): void {
    let entry = this.#entries.get(item);
    if (entry === undefined) {
      entry = { item, at, place: this.#heap.length };
      this.#entries.set(item, entry);
      this.#heap.push(entry);
    }
    entry.at = at;
    this.#settle(entry);
  }

  delete(item: T): void {
    const entry = this.#entries.get(item);
    if (entry === undefined) return;
    this.#entries.delete(item);
    const last = this.#heap.pop();
    if (last === undefined || last === entry) return;
    this.#put(last, entry.place);
    this.#settle(last);
  }

  #settle(entry: Entry<T>): void {
    for (;;) {
      const parent = this.#heap[(entry.place - 1) >> 1];
      if (entry.place === 0 || parent === undefined || parent.at <= entry.at) break;
      this.#swap(entry, parent);
    }
    for (;;) {
      const [left, right] = [2 * entry.place + 1, 2 * entry.place + 2].map(
        (place) => this.#heap[place],
      );
      const child = right !== undefined && left !== undefined && right.at < left.at ? right : left;
      if (child === undefined || entry.at <= child.at) return;
      this.#swap(child, entry);
    }
  }

  #swap(one: Entry<T>, other: Entry<T>): void {
    const { place } = one;
    this.#put(one, other.place);
    this.#put(other, place);
  }

  #put(entry: Entry<T>, place: number): void {
    entry.place = place;
    this.#heap[place] = entry;
  }
}
