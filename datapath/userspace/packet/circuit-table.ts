/**
 * Finds the session of a keyed tunnel by a message's source and destination (RFC 8159, section 2). The table uses open
 * addressing in one array of words, so that a look-up allocates nothing.
 */
import type { MessageVectors } from "./vectors.ts";

/** 32-bit words of an IPv6 address. */
const ADDRESS_WORDS = 4;
/** The remote address and the local address. */
const PAIR_WORDS = 2 * ADDRESS_WORDS;
const FIRST_SLOTS = 16;

/** The addresses of a keyed tunnel, in 32-bit words. The local words are 0 if the socket has one local address. */
export type AddressPair = Int32Array;

export class CircuitTable<T extends object> {
  /** True if the socket reports the destination of each message. */
  readonly #hasDestination: boolean;
  readonly #entries = new Map<string, { readonly pair: AddressPair; readonly session: T }>();
  #words = new Int32Array(FIRST_SLOTS * PAIR_WORDS);
  #sessions: (T | null)[] = new Array(FIRST_SLOTS).fill(null);

  constructor(hasDestination: boolean) {
    this.#hasDestination = hasDestination;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(pair: AddressPair): T | undefined {
    return this.#entries.get(pair.join())?.session;
  }

  set(pair: AddressPair, session: T): void {
    const isNew = !this.#entries.has(pair.join());
    this.#entries.set(pair.join(), { pair, session });
    // At least half of the slots stay empty, so that look-ups of unknown pairs end soon.
    if (isNew && 2 * this.#entries.size <= this.#sessions.length) this.#insert(pair, session);
    else this.#rebuild();
  }

  delete(pair: AddressPair): void {
    if (this.#entries.delete(pair.join())) this.#rebuild();
  }

  /** Returns the session of the tunnel with the message's addresses; null: none. */
  find(messages: MessageVectors, index: number): T | null {
    if (this.#hasDestination && !messages.hasDestination(index)) return null;
    const mask = this.#sessions.length - 1;
    let hash = 0;
    for (let word = 0; word < PAIR_WORDS; word++) {
      hash = mix(hash, this.#wordOf(messages, index, word));
    }
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const session = this.#sessions[slot] as T | null;
      if (session === null || this.#isAt(slot, messages, index)) return session;
    }
  }

  #isAt(slot: number, messages: MessageVectors, index: number): boolean {
    const at = slot * PAIR_WORDS;
    for (let word = 0; word < PAIR_WORDS; word++) {
      if (this.#words[at + word] !== this.#wordOf(messages, index, word)) return false;
    }
    return true;
  }

  #wordOf(messages: MessageVectors, index: number, word: number): number {
    if (word < ADDRESS_WORDS) return messages.sourceWord(index, word);
    return this.#hasDestination ? messages.destinationWord(index, word - ADDRESS_WORDS) : 0;
  }

  #rebuild(): void {
    let slots = FIRST_SLOTS;
    while (slots < 2 * this.#entries.size) slots *= 2;
    this.#words = new Int32Array(slots * PAIR_WORDS);
    this.#sessions = new Array(slots).fill(null);
    for (const { pair, session } of this.#entries.values()) this.#insert(pair, session);
  }

  #insert(pair: AddressPair, session: T): void {
    const mask = this.#sessions.length - 1;
    let slot = pair.reduce(mix, 0) & mask;
    while (this.#sessions[slot] !== null) slot = (slot + 1) & mask;
    this.#words.set(pair, slot * PAIR_WORDS);
    this.#sessions[slot] = session;
  }
}

function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 0x9e37_79b1);
  return product ^ (product >>> 15);
}

/**
 * Returns the key of a tunnel.
 * @param remote the remote's struct sockaddr_in6, in 32-bit words
 * @param local the local one; undefined: the socket has one local address
 */
export function addressPair(remote: Uint32Array, local: Uint32Array | undefined): AddressPair {
  const pair = new Int32Array(PAIR_WORDS);
  // The address begins at word 2 of a struct sockaddr_in6.
  pair.set(remote.subarray(2, 2 + ADDRESS_WORDS));
  if (local !== undefined) pair.set(local.subarray(2, 2 + ADDRESS_WORDS), ADDRESS_WORDS);
  return pair;
}
