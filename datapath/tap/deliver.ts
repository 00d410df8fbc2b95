/** The last step of a received frame: into the session's device, with those that follow it where it can be. */
import { Coalescer } from "../offload/coalesce.ts";
import type { Arena } from "./arena.ts";
import { FrameVector } from "./frame-vector.ts";
import type { SessionState } from "./session.ts";

export class Delivery {
  readonly #vector: FrameVector;
  readonly #coalescer: Coalescer | null;
  /** Whose frames are pending. */
  #pendingFor: SessionState | null = null;
  #pendingBytes = 0;

  /** @param coalesces whether frames of a flow go into the device as one */
  constructor(arena: Arena, coalesces: boolean) {
    this.#vector = new FrameVector(arena);
    this.#coalescer = coalesces ? new Coalescer(arena) : null;
  }

  /** The frame must stay where it is until `flush`. */
  deliver(session: SessionState, at: number, bytes: number): void {
    if (session.device === null) {
      session.counters.rxNoDevice++;
      return;
    }
    const coalescer = this.#coalescer;
    if (coalescer === null) {
      this.#vector.setPlain(at, bytes);
      this.#write(session, 1, bytes);
      return;
    }
    if (session === this.#pendingFor && coalescer.join(at, at + bytes)) {
      this.#pendingBytes += bytes;
      return;
    }
    this.flush();
    coalescer.begin(at, at + bytes);
    this.#pendingFor = session;
    this.#pendingBytes = bytes;
  }

  /** Writes what is pending. */
  flush(): void {
    const session = this.#pendingFor;
    if (session === null || this.#coalescer === null) return;
    this.#pendingFor = null;
    const { frames } = this.#coalescer;
    this.#vector.setCoalesced(this.#coalescer);
    this.#write(session, frames, this.#pendingBytes);
  }

  #write(session: SessionState, frames: number, bytes: number): void {
    const { device, counters } = session;
    if (device === null || device.write(this.#vector) < 0) {
      counters.rxErrors += frames;
      return;
    }
    counters.rxPackets += frames;
    counters.rxBytes += bytes;
  }
}
