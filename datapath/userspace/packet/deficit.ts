/**
 * Divides the loop's time by deficit round robin (Shreedhar and Varghese, 1995). Each device and socket has an account
 * that every round credits with the same quantum. A turn may overdraw its account by one frame, which can have two
 * thousand segments. The account then has no turn until later rounds have paid the debt.
 */

/** The credit of a round, in bytes. */
const QUANTUM = 256 * 1024;

/** Fixed costs, in bytes that take the same time: measured over a veth pair. */
export const COST = {
  /** A datagram among several in one message, or a segment of a large frame. */
  datagram: 192,
  /** A frame or message that is passed to or from the kernel alone. */
  crossing: 1024,
} as const;

export class Account {
  /** Quanta in each round. */
  weight = 1;
  #balance = QUANTUM;
  #round = 0;

  /** True if the account has credit. */
  get isOpen(): boolean {
    return this.#balance > 0;
  }

  spend(cost: number): void {
    this.#balance -= cost;
  }

  /** Returns the rounds until the next turn; 0: in this round. */
  roundsToWait(round: number): number {
    const quantum = this.weight * QUANTUM;
    const passed = (round - this.#round) >>> 0;
    this.#round = round;
    this.#balance = Math.min(quantum, this.#balance + passed * quantum);
    return this.#balance > 0 ? 0 : Math.trunc(-this.#balance / quantum) + 1;
  }
}

/** The rounds of a loop. Between `begin` and `end`, call `admits` once for each ready account. */
export class Rounds {
  /** Wraps around. */
  #round = 0;
  #hasServed = false;
  /** The shortest wait, in rounds, of the accounts that were not admitted. */
  #leastToWait = 0;

  begin(): void {
    this.#round = (this.#round + 1) | 0;
    this.#hasServed = false;
    this.#leastToWait = 0;
  }

  /** Returns true if the account has a turn in this round. @param account undefined: always */
  admits(account: Account | undefined): boolean {
    const wait = account === undefined ? 0 : account.roundsToWait(this.#round);
    if (wait === 0) this.#hasServed = true;
    else if (this.#leastToWait === 0 || wait < this.#leastToWait) this.#leastToWait = wait;
    return wait === 0;
  }

  /** Ends the round. If no account was admitted, skips to the next round that admits one. */
  end(): void {
    if (!this.#hasServed && this.#leastToWait > 1) {
      this.#round = (this.#round + this.#leastToWait - 1) | 0;
    }
  }
}
