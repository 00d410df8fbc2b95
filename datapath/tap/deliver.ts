/** The last step of a received frame: into the session's device, with those that follow it where it can be. */
import { Coalescer } from "../offload/coalesce.ts";
import { NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import type { Arena } from "./arena.ts";
import type { SessionState } from "./session.ts";

export class Delivery {
  readonly #arena: Arena;
  readonly #coalescer: Coalescer | null;
  /** Whose frames are pending. */
  #pendingFor: SessionState | null = null;
  #pendingBytes = 0;

  /** @param coalesces whether frames of a flow go into the device as one */
  constructor(arena: Arena, coalesces: boolean) {
    this.#arena = arena;
    this.#coalescer = coalesces ? new Coalescer(arena) : null;
  }

  /**
   * The frame must stay where it is until `flush`. What is in front of it, and behind it up to `limit`, is
   * written over.
   */
  deliver(session: SessionState, at: number, bytes: number, limit: number): void {
    if (session.device === null) {
      session.counters.rxNoDevice++;
      return;
    }
    const coalescer = this.#coalescer;
    if (coalescer === null) return this.#writePlain(session, at, bytes);
    if (session === this.#pendingFor && coalescer.join(at, at + bytes)) {
      this.#pendingBytes += bytes;
      return;
    }
    this.flush();
    coalescer.begin(at, at + bytes, limit);
    this.#pendingFor = session;
    this.#pendingBytes = bytes;
  }

  /** Writes what is pending. */
  flush(): void {
    const session = this.#pendingFor;
    const coalescer = this.#coalescer;
    if (session === null || coalescer === null) return;
    this.#pendingFor = null;
    const { at, end, frames } = coalescer;
    coalescer.finish();
    if (frames === 1) return this.#writePlain(session, at, end - at);
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    view.setUint8(header + VNET.flags, NEEDS_CHECKSUM);
    view.setUint8(header + VNET.gsoType, coalescer.gsoType);
    view.setUint16(header + VNET.headerBytes, coalescer.headerBytes, true);
    view.setUint16(header + VNET.gsoSize, coalescer.segmentBytes, true);
    view.setUint16(header + VNET.checksumStart, coalescer.checksumStart, true);
    view.setUint16(header + VNET.checksumOffset, coalescer.checksumOffset, true);
    this.#write(session, at, end - at, frames, this.#pendingBytes);
  }

  /** As it stands; the device is told nothing of it. */
  #writePlain(session: SessionState, at: number, bytes: number): void {
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    view.setFloat64(header, 0);
    view.setUint16(header + 8, 0);
    this.#write(session, at, bytes, 1, bytes);
  }

  #write(session: SessionState, at: number, length: number, frames: number, bytes: number): void {
    const { device, counters } = session;
    if (device === null || device.write(this.#arena, at, length) < 0) {
      counters.rxErrors += frames;
      return;
    }
    counters.rxPackets += frames;
    counters.rxBytes += bytes;
  }
}
