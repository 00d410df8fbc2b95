/** Notices what becomes of control connections between two passes: the datapath tells only who asks. */
import type { Listing } from "../../datapath/datapath.ts";

const POLL_MS = 1000;

export class ControlWatch {
  readonly #list: () => Promise<Listing>;
  readonly #changed: () => void;
  #timer: NodeJS.Timeout | null = null;
  #known = "";

  /** @param changed is called once for each change, until `saw` */
  constructor(list: () => Promise<Listing>, changed: () => void) {
    this.#list = list;
    this.#changed = changed;
  }

  /** What a pass has seen. Without control connections nothing is watched. @param matters whether there are any */
  saw(listing: Listing, matters: boolean): void {
    this.#known = gist(listing);
    if (!matters) return this.stop();
    this.#timer ??= setInterval(() => void this.#look(), POLL_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #look(): Promise<void> {
    let now: string;
    try {
      now = gist(await this.#list());
    } catch {
      // A datapath that is gone is found by others.
      return;
    }
    if (now === this.#known || this.#timer === null) return;
    this.#known = now;
    this.#changed();
  }
}

/** What status says of them, and nothing that changes by itself. */
function gist({ tunnels, sessions }: Listing): string {
  return JSON.stringify([
    tunnels.map(({ tunnel, control }) => [
      tunnel.name,
      control?.state,
      control?.peerHostName,
      control?.lastEnding?.why,
    ]),
    sessions.map(({ session, control }) => [
      session.key,
      control?.phase === "established",
      control?.established?.peerCircuit,
      control?.lastEnding?.why,
    ]),
  ]);
}
