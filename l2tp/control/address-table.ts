/** A map by IP address, with lookup from a buffer without allocation. */

interface Entry<T> {
  readonly address: Uint8Array;
  readonly value: T;
  /** Another address with the same key. */
  next: Entry<T> | null;
}

export class AddressTable<T> {
  readonly #entries = new Map<number, Entry<T>>();

  /** @param address 4 or 16 bytes; not in the table yet */
  set(address: Uint8Array, value: T): void {
    const key = keyOf(address, 0, address.length);
    this.#entries.set(key, { address, value, next: this.#entries.get(key) ?? null });
  }

  delete(address: Uint8Array): void {
    const key = keyOf(address, 0, address.length);
    const kept: Entry<T>[] = [];
    for (let entry = this.#entries.get(key) ?? null; entry !== null; entry = entry.next) {
      if (!isAt(entry.address, address, 0, address.length)) kept.push(entry);
    }
    this.#entries.delete(key);
    for (const entry of kept) this.set(entry.address, entry.value);
  }

  /** @param at offset of the address in `bytes` */
  find(bytes: Uint8Array, at: number, length: number): T | undefined {
    let entry = this.#entries.get(keyOf(bytes, at, length)) ?? null;
    while (entry !== null && !isAt(entry.address, bytes, at, length)) entry = entry.next;
    return entry?.value;
  }

  get size(): number {
    return this.#entries.size;
  }
}

/** Returns a hash of the address, as a signed 32-bit number. */
function keyOf(bytes: Uint8Array, at: number, length: number): number {
  let key = 0;
  for (let i = 0; i < length; i++) {
    key = (Math.imul(key, 31) + (bytes[at + i] as number)) | 0;
  }
  return key;
}

function isAt(address: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (address.length !== length) return false;
  for (let i = 0; i < length; i++) if (address[i] !== bytes[at + i]) return false;
  return true;
}
