/**
 * Shares of the loop by deficit round robin (Shreedhar and Varghese, 1995). Each device and each socket has an
 * account, which every round fills up by the same quantum. A turn may go over what is left by the frame at hand, of
 * which there can be two thousand segments; the holder then waits until the rounds of the others have paid for it.
 */

/** What a turn may cost, in bytes. */
const QUANTUM = 256 * 1024;

/** What takes time but for the bytes, in bytes that take as long: measured over a veth pair. */
export const COST = {
  /** A datagram that is one of many in a system call's message, or of a large frame. */
  datagram: 192,
  /** A frame or message that crosses to or from the kernel alone. */
  crossing: 1024,
} as const;

export class Account {
  /** How many quanta a round brings. */
  weight = 1;
  #balance = QUANTUM;
  #round = 0;

  /** Whether there is something left to spend. */
  get isOpen(): boolean {
    return this.#balance > 0;
  }

  spend(cost: number): void {
    this.#balance -= cost;
  }

  /** Rounds until its holder may have a turn; 0: it may now. */
  roundsToWait(round: number): number {
    const quantum = this.weight * QUANTUM;
    const passed = (round - this.#round) >>> 0;
    this.#round = round;
    this.#balance = Math.min(quantum, this.#balance + passed * quantum);
    return this.#balance > 0 ? 0 : Math.trunc(-this.#balance / quantum) + 1;
  }
}

/** The rounds of a loop. Between `begin` and `end` each that is ready is asked about once. */
export class Rounds {
  /** Wraps around. */
  #round = 0;
  #hasServed = false;
  /** The least that one of those has to wait who have been turned away. */
  #leastToWait = 0;

  begin(): void {
    this.#round = (this.#round + 1) | 0;
    this.#hasServed = false;
    this.#leastToWait = 0;
  }

  /** Whether the holder has its turn in this round. @param account none: always */
  admits(account: Account | undefined): boolean {
    const wait = account === undefined ? 0 : account.roundsToWait(this.#round);
    if (wait === 0) this.#hasServed = true;
    else if (this.#leastToWait === 0 || wait < this.#leastToWait) this.#leastToWait = wait;
    return wait === 0;
  }

  /** Where all have been turned away, nobody loses anything by their turn: it comes at once. */
  end(): void {
    if (!this.#hasServed && this.#leastToWait > 1) {
      this.#round = (this.#round + this.#leastToWait - 1) | 0;
    }
  }
}
