/** Slots in the array of counters, which programs and process share. */
import { SharedArray } from "../../../linux/bpf.ts";
import type { BypassedFrames } from "../packet/bypass.ts";
import { COUNTERS } from "./layout.ts";

const WORDS = COUNTERS.bytes / 8;
const NS_PER_MS = 1_000_000n;

export class CounterSlots {
  readonly #array: SharedArray;
  readonly #free: number[];

  /** @throws SystemError */
  constructor(count: number) {
    this.#array = new SharedArray("l2tp_counters", COUNTERS.bytes, count);
    this.#free = Array.from({ length: count }, (_, index) => count - 1 - index);
  }

  get fd(): number {
    return this.#array.fd;
  }

  /** Allocates a slot with zeroed counters; undefined: all slots are in use. */
  take(): number | undefined {
    const slot = this.#free.pop();
    if (slot !== undefined) this.#array.words.fill(0n, slot * WORDS, (slot + 1) * WORDS);
    return slot;
  }

  /** Releases a slot. No program may use it any more. */
  giveBack(slot: number): void {
    this.#free.push(slot);
  }

  read(slot: number): Omit<BypassedFrames, "features"> {
    const word = (field: number) => this.#array.words[slot * WORDS + field] ?? 0n;
    const last = word(COUNTERS.lastReceived);
    const ago = (process.hrtime.bigint() - last) / NS_PER_MS;
    return {
      txPackets: Number(word(COUNTERS.txPackets)),
      txBytes: Number(word(COUNTERS.txBytes)),
      rxPackets: Number(word(COUNTERS.rxPackets)),
      rxBytes: Number(word(COUNTERS.rxBytes)),
      lastReceivedMsAgo: last === 0n ? null : Number(ago),
    };
  }
}
