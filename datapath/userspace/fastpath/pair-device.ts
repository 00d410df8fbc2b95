import { TapDevice } from "../devices/kernel-ports.ts";
import type { AcceptedGso } from "../packet/ports.ts";
import type { Pair } from "./pair.ts";

/** The device of a session on the fast path: the process reads and writes the pair's TAP device. */
export class PairDevice extends TapDevice {
  readonly pair: Pair;
  /** Descriptors of the programs that are attached to the pair's links. */
  readonly holds: readonly number[];

  constructor(pair: Pair, holds: readonly number[], acceptedGso: AcceptedGso) {
    super(pair.tap.fd, pair.podEnd, acceptedGso);
    this.pair = pair;
    this.holds = holds;
  }
}
