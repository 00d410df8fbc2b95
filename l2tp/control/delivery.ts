/**
 * Reliable delivery of control messages (RFC 3931, 4.2 and appendix A): sequence numbers, acknowledgements,
 * retransmission, and delivery in order and once. It does not know the content of messages.
 */

/** Numbers are modulo 2¹⁶. */
const MODULUS = 0x1_0000;
const HALF = 0x8000;
/** Default of the peer's Receive Window Size (5.4.3). */
export const DEFAULT_WINDOW = 4;

export interface DeliverySettings {
  /** Number of messages that we accept before acknowledging, and limit of early messages that are kept. */
  readonly receiveWindow: number;
  /** Delay of the first retransmission. */
  readonly retransmitMs: number;
  /** Limit of the delay, which doubles with each retransmission. */
  readonly retransmitCapMs: number;
  /** Retransmissions of a message before the peer is considered down. */
  readonly maxRetransmits: number;
}

export const DEFAULT_DELIVERY: DeliverySettings = {
  receiveWindow: 8,
  retransmitMs: 1000,
  retransmitCapMs: 8000,
  maxRetransmits: 10,
};

/** A message to send now. */
export interface Transmission<T> {
  readonly ns: number;
  readonly nr: number;
  readonly item: T;
}

/** The result of receiving a message. */
export type Receipt = "taken" | "duplicate" | "early" | "acknowledgement" | "invalid";

export interface DeliveryCounters {
  sent: number;
  retransmitted: number;
  received: number;
  duplicates: number;
  early: number;
  invalid: number;
}

/** Returns the distance from `from` to `to`: 0 to 65535. */
function ahead(from: number, to: number): number {
  return (to - from + MODULUS) % MODULUS;
}

/** @template T sent messages; @template M received messages */
export class Delivery<T, M extends object> {
  readonly counters: DeliveryCounters = {
    sent: 0,
    retransmitted: 0,
    received: 0,
    duplicates: 0,
    early: 0,
    invalid: 0,
  };
  readonly #settings: DeliverySettings;
  /** Ns of the next new message. */
  #ns = 0;
  /** Nr: the next expected number. */
  #nr = 0;
  readonly #waiting: T[] = [];
  /** Sent and unacknowledged messages; the last one has Ns − 1. */
  readonly #unacknowledged: T[] = [];
  readonly #early = new Map<number, M>();
  #peerWindow = DEFAULT_WINDOW;
  /** Congestion window and slow start threshold, in messages. */
  #window = 1;
  #threshold = DEFAULT_WINDOW;
  /** Messages acknowledged since the window last grew, beyond slow start. */
  #credit = 0;
  #intervalMs: number;
  #retransmits = 0;
  /** Time of the next retransmission of the first unacknowledged message. */
  #retransmitAt = Number.POSITIVE_INFINITY;
  #owesAcknowledgement = false;

  constructor(settings: DeliverySettings) {
    this.#settings = settings;
    this.#intervalMs = settings.retransmitMs;
  }

  /** Sets the peer's Receive Window Size. */
  setPeerWindow(messages: number): void {
    this.#peerWindow = Math.max(1, messages);
    this.#threshold = this.#peerWindow;
  }

  /** Returns the state for display. */
  describe() {
    return {
      ns: this.#ns,
      nr: this.#nr,
      waiting: this.#waiting.length,
      unacknowledged: this.#unacknowledged.length,
      window: Math.min(this.#window, this.#peerWindow),
      peerWindow: this.#peerWindow,
      retransmits: this.#retransmits,
    };
  }

  /** Number of messages that are not sent yet. */
  get backlog(): number {
    return this.#waiting.length;
  }

  /** True if all messages are acknowledged. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#unacknowledged.length === 0;
  }

  /** True if the first unacknowledged message has reached the limit of retransmissions. */
  get isExhausted(): boolean {
    return this.#retransmits > this.#settings.maxRetransmits;
  }

  /** Time of the next `poll`; Infinity: none. */
  get deadline(): number {
    return this.#retransmitAt;
  }

  /**
   * Adds one retransmission of the first message after this pause. Has no effect if the usual pause is less than twice
   * as long.
   */
  hurry(pauseMs: number): void {
    if (2 * pauseMs <= this.#settings.retransmitMs) this.#intervalMs = pauseMs;
  }

  send(item: T): void {
    this.#waiting.push(item);
  }

  /** Drops all messages that are not sent yet. */
  dropWaiting(): void {
    this.#waiting.length = 0;
  }

  /**
   * Handles the numbers of a received message.
   * @param message null: an acknowledgement, which has no number
   * @returns the messages to handle now, in order; `isNews`: true if it cannot be a replay
   */
  receive(
    ns: number,
    nr: number,
    message: M | null,
    now: number,
  ): { readonly receipt: Receipt; readonly isNews: boolean; readonly ready: readonly M[] } {
    const outstanding = this.#unacknowledged.length;
    if (!this.#acknowledge(nr, now)) {
      this.counters.invalid++;
      return { receipt: "invalid", isNews: false, ready: [] };
    }
    const isNews = this.#unacknowledged.length < outstanding;
    if (message === null) return { receipt: "acknowledgement", isNews, ready: [] };
    this.#owesAcknowledgement = true;
    const distance = ahead(this.#nr, ns);
    if (distance >= HALF) {
      this.counters.duplicates++;
      return { receipt: "duplicate", isNews, ready: [] };
    }
    if (distance > 0) {
      this.counters.early++;
      if (distance < this.#settings.receiveWindow) this.#early.set(ns, message);
      return { receipt: "early", isNews, ready: [] };
    }
    const ready = [message];
    for (;;) {
      this.#nr = (this.#nr + 1) % MODULUS;
      this.counters.received++;
      const next = this.#early.get(this.#nr);
      if (next === undefined) return { receipt: "taken", isNews: true, ready };
      this.#early.delete(this.#nr);
      ready.push(next);
    }
  }

  /** True if a message with these numbers can be new for `receive`. Changes nothing. */
  isDue(ns: number, nr: number, isAcknowledgement: boolean): boolean {
    const outstanding = this.#unacknowledged.length;
    const count = ahead((this.#ns - outstanding + MODULUS) % MODULUS, nr);
    if (count < HALF && count > outstanding) return false;
    if (count < HALF && count > 0) return true;
    return !isAcknowledgement && ahead(this.#nr, ns) < this.#settings.receiveWindow;
  }

  /** Handles Nr. Returns false if it acknowledges a message that was never sent. */
  #acknowledge(nr: number, now: number): boolean {
    const first = (this.#ns - this.#unacknowledged.length + MODULUS) % MODULUS;
    const count = ahead(first, nr);
    // An Nr of an overtaken message is old.
    if (count >= HALF || count === 0) return true;
    if (count > this.#unacknowledged.length) return false;
    this.#unacknowledged.splice(0, count);
    this.#retransmits = 0;
    this.#intervalMs = this.#settings.retransmitMs;
    this.#retransmitAt =
      this.#unacknowledged.length === 0 ? Number.POSITIVE_INFINITY : now + this.#intervalMs;
    this.#grow(count);
    return true;
  }

  /** Slow start, then one message more for each acknowledged window. */
  #grow(acknowledged: number): void {
    for (let i = 0; i < acknowledged && this.#window < this.#peerWindow; i++) {
      if (this.#window < this.#threshold) this.#window++;
      else if (++this.#credit >= this.#window) {
        this.#credit = 0;
        this.#window++;
      }
    }
  }

  /** Returns the messages to send now: due retransmissions, and new messages within the window. */
  poll(now: number): Transmission<T>[] {
    const transmissions: Transmission<T>[] = [];
    if (now >= this.#retransmitAt) this.#retransmit(now, transmissions);
    const window = Math.min(this.#window, this.#peerWindow);
    while (this.#waiting.length > 0 && this.#unacknowledged.length < window) {
      const item = this.#waiting.shift() as T;
      if (this.#unacknowledged.length === 0) this.#retransmitAt = now + this.#intervalMs;
      this.#unacknowledged.push(item);
      transmissions.push({ ns: this.#ns, nr: this.#nr, item });
      this.#ns = (this.#ns + 1) % MODULUS;
      this.counters.sent++;
    }
    if (transmissions.length > 0) this.#owesAcknowledgement = false;
    return transmissions;
  }

  #retransmit(now: number, transmissions: Transmission<T>[]): void {
    const { retransmitMs, retransmitCapMs } = this.#settings;
    if (this.#intervalMs >= retransmitMs) this.#retransmits++;
    if (this.isExhausted) {
      this.#retransmitAt = Number.POSITIVE_INFINITY;
      return;
    }
    this.#threshold = Math.max(1, Math.floor(this.#window / 2));
    this.#window = 1;
    this.#credit = 0;
    this.#intervalMs = Math.min(Math.max(2 * this.#intervalMs, retransmitMs), retransmitCapMs);
    this.#retransmitAt = now + this.#intervalMs;
    const ns = (this.#ns - this.#unacknowledged.length + MODULUS) % MODULUS;
    transmissions.push({ ns, nr: this.#nr, item: this.#unacknowledged[0] as T });
    this.counters.retransmitted++;
  }

  /** Returns the numbers of a pending acknowledgement that no message has carried; null: none. */
  takeAcknowledgement(): { readonly ns: number; readonly nr: number } | null {
    if (!this.#owesAcknowledgement) return null;
    this.#owesAcknowledgement = false;
    return { ns: this.#ns, nr: this.#nr };
  }
}
