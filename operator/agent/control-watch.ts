/** Notices what becomes of control connections between two passes: the datapath tells only who asks. */
import type { Listing } from "../../datapath/datapath.ts";

const POLL_MS = 1000;

export class ControlWatch {
  readonly #list: () => Promise<Listing>;
  readonly #changed: () => void;
  #timer: NodeJS.Timeout | null = null;
  #known = "";
  #isLooking = false;
  #isStopped = false;

  /** @param changed is called once for each change, until `saw` */
  constructor(list: () => Promise<Listing>, changed: () => void) {
    this.#list = list;
    this.#changed = changed;
  }

  /** What a pass has seen. Without control connections nothing is watched. @param matters whether there are any */
  saw(listing: Listing, matters: boolean): void {
    this.#known = gist(listing);
    if (!matters || this.#isStopped) return this.#rest();
    this.#timer ??= setInterval(() => void this.#look(), POLL_MS);
  }

  /** For good. */
  stop(): void {
    this.#isStopped = true;
    this.#rest();
  }

  #rest(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    let now: string;
    try {
      now = gist(await this.#list());
    } catch {
      // A datapath that is gone is found by others.
      return;
    } finally {
      this.#isLooking = false;
    }
    if (now === this.#known || this.#timer === null) return;
    this.#known = now;
    this.#changed();
  }
}

/** What status says of them, and nothing that changes by itself. */
function gist({ tunnels, sessions }: Listing): string {
  return JSON.stringify([
    tunnels.flatMap(({ tunnel, control }) =>
      control === undefined
        ? []
        : [
            [
              tunnel.name,
              control.active,
              control.paths.map(({ state, peerHostName, lastEnding }) => [
                state === "established",
                peerHostName,
                lastEnding,
              ]),
            ],
          ],
    ),
    sessions.flatMap(({ session, control }) =>
      control === undefined
        ? []
        : [[session.key, control.established?.peerCircuit, control.lastEnding]],
    ),
  ]);
}
