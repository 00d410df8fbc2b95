/**
 * Reliable delivery of control messages (RFC 3931, 4.2 and appendix A): numbered, acknowledged, sent again, and
 * handed on in order and once. It knows numbers and times, not what messages say.
 */

/** Numbers are modulo 2¹⁶. */
const MODULUS = 0x1_0000;
const HALF = 0x8000;
/** Where the peer has not said (5.4.3, Receive Window Size). */
export const DEFAULT_WINDOW = 4;

export interface DeliverySettings {
  /** Messages that we take in before they are acknowledged; of early ones, as many are kept. */
  readonly receiveWindow: number;
  /** Until a message is first sent again. */
  readonly retransmitMs: number;
  /** The interval doubles up to this. */
  readonly retransmitCapMs: number;
  /** How often a message is sent again before the peer counts as gone. */
  readonly maxRetransmits: number;
}

export const DEFAULT_DELIVERY: DeliverySettings = {
  receiveWindow: 8,
  retransmitMs: 1000,
  retransmitCapMs: 8000,
  maxRetransmits: 10,
};

/** What to send now. */
export interface Transmission<T> {
  readonly ns: number;
  readonly nr: number;
  readonly item: T;
}

/** What became of a message that came. */
export type Receipt = "taken" | "duplicate" | "early" | "acknowledgement" | "invalid";

export interface DeliveryCounters {
  sent: number;
  retransmitted: number;
  received: number;
  duplicates: number;
  early: number;
  invalid: number;
}

/** How far `to` is ahead of `from`; 0 to 65535. */
function ahead(from: number, to: number): number {
  return (to - from + MODULUS) % MODULUS;
}

/** @template T what is sent; @template M what is received */
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
  /** Nr: the number that we expect next. */
  #nr = 0;
  readonly #waiting: T[] = [];
  /** Sent and not acknowledged; the last one has Ns − 1. */
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
  /** When the first unacknowledged message is sent again. */
  #retransmitAt = Number.POSITIVE_INFINITY;
  #owesAcknowledgement = false;

  constructor(settings: DeliverySettings) {
    this.#settings = settings;
    this.#intervalMs = settings.retransmitMs;
  }

  /** What the peer takes in before it acknowledges. */
  setPeerWindow(messages: number): void {
    this.#peerWindow = Math.max(1, messages);
    this.#threshold = this.#peerWindow;
  }

  /** For views. */
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

  /** How many have not been sent yet. */
  get backlog(): number {
    return this.#waiting.length;
  }

  /** Everything that was sent has been acknowledged. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#unacknowledged.length === 0;
  }

  /** The first unacknowledged message has been sent as often as it may. */
  get isExhausted(): boolean {
    return this.#retransmits > this.#settings.maxRetransmits;
  }

  /** When `poll` has something to do by itself; Infinity: never. */
  get deadline(): number {
    return this.#retransmitAt;
  }

  /**
   * Sends the first message once more than usual, after this pause. Does nothing if the usual pause
   * is less than twice as long.
   */
  hurry(pauseMs: number): void {
    if (2 * pauseMs <= this.#settings.retransmitMs) this.#intervalMs = pauseMs;
  }

  send(item: T): void {
    this.#waiting.push(item);
  }

  /** Nothing that was not sent yet is ever sent. */
  dropWaiting(): void {
    this.#waiting.length = 0;
  }

  /**
   * Takes a message's numbers in.
   * @param message null: an acknowledgement, which has no number of its own
   * @returns messages that are now to be handled, in order; `isNews`: nobody can have sent that before
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

  /** True if `receive` may find something new in a message with these numbers. Changes nothing. */
  isDue(ns: number, nr: number, isAcknowledgement: boolean): boolean {
    const outstanding = this.#unacknowledged.length;
    const count = ahead((this.#ns - outstanding + MODULUS) % MODULUS, nr);
    if (count < HALF && count > outstanding) return false;
    if (count < HALF && count > 0) return true;
    return !isAcknowledgement && ahead(this.#nr, ns) < this.#settings.receiveWindow;
  }

  /** False: it acknowledges what was never sent. */
  #acknowledge(nr: number, now: number): boolean {
    const first = (this.#ns - this.#unacknowledged.length + MODULUS) % MODULUS;
    const count = ahead(first, nr);
    // One that was overtaken says what we knew.
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

  /** Slow start, and then one more for each window that was acknowledged. */
  #grow(acknowledged: number): void {
    for (let i = 0; i < acknowledged && this.#window < this.#peerWindow; i++) {
      if (this.#window < this.#threshold) this.#window++;
      else if (++this.#credit >= this.#window) {
        this.#credit = 0;
        this.#window++;
      }
    }
  }

  /** What to send now: again what was not acknowledged in time, and new messages as far as the window goes. */
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

  /** Numbers of an acknowledgement that is owed and that no message has carried; null: none is. */
  takeAcknowledgement(): { readonly ns: number; readonly nr: number } | null {
    if (!this.#owesAcknowledgement) return null;
    this.#owesAcknowledgement = false;
    return { ns: this.#ns, nr: this.#nr };
  }
}
