/** The last step of a received frame: into the session's device, with those that follow it where it can be. */
import { Coalescer } from "../offload/coalesce.ts";
import { Segmenter } from "../offload/segment.ts";
import { NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { Errno } from "../sys/errno.ts";
import { type Arena, Slots } from "./arena.ts";
import type { SessionState } from "./session.ts";

export class Delivery {
  readonly #arena: Arena;
  readonly #coalescer: Coalescer;
  readonly #segmenter: Segmenter;
  /** Where a large frame is cut again that its device has refused. */
  readonly #cutAt: number;
  readonly #refused: (session: SessionState, errno: number) => void;
  /** Whose frames are pending. */
  #pendingFor: SessionState | null = null;
  #pendingBytes = 0;

  /** What it takes of the arena. */
  static readonly BYTES = Slots.bytes(1);

  /** @param base of Delivery.BYTES in the arena */
  constructor(arena: Arena, base: number, refused: (session: SessionState, errno: number) => void) {
    this.#arena = arena;
    this.#coalescer = new Coalescer(arena);
    this.#segmenter = new Segmenter(arena);
    this.#cutAt = new Slots(base).at(0);
    this.#refused = refused;
  }

  /**
   * The frame must stay where it is until `flush`. What is in front of it, and behind it up to `limit`, is
   * written over.
   */
  deliver(session: SessionState, at: number, bytes: number, limit: number): void {
    const { device } = session;
    if (device === null) {
      session.counters.rxNoDevice++;
      return;
    }
    const coalescer = this.#coalescer;
    if (session === this.#pendingFor && coalescer.join(at, at + bytes)) {
      this.#pendingBytes += bytes;
      return;
    }
    this.flush();
    if (device.joins === "none") return this.#writePlain(session, at, bytes);
    coalescer.begin(at, at + bytes, limit, device.joins === "all");
    this.#pendingFor = session;
    this.#pendingBytes = bytes;
  }

  /** Writes what is pending. */
  flush(): void {
    const session = this.#pendingFor;
    if (session === null) return;
    this.#pendingFor = null;
    const coalescer = this.#coalescer;
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
    this.#writeLarge(session, at, end - at, frames, this.#pendingBytes);
  }

  #writeLarge(
    session: SessionState,
    at: number,
    length: number,
    frames: number,
    bytes: number,
  ): void {
    const { device, counters } = session;
    if (device === null) {
      counters.rxNoDevice += frames;
      return;
    }
    const status = device.write(this.#arena, at, length);
    if (status === 0) {
      counters.rxPackets += frames;
      counters.rxBytes += bytes;
    } else if (status === -Errno.EINVAL) {
      // What it does not know it never will.
      if (device.joins !== "none") this.#refused(session, Errno.EINVAL);
      device.joins = "none";
      this.#writeCut(session, at, at + length);
    } else {
      counters.rxErrors += frames;
    }
  }

  #writeCut(session: SessionState, at: number, end: number): void {
    const { gsoType, segmentBytes, checksumStart } = this.#coalescer;
    const segmenter = this.#segmenter;
    const count = segmenter.start(at, end, gsoType, segmentBytes, checksumStart);
    for (let index = 0; index < count; index++) {
      segmenter.write(index, this.#cutAt);
      const bytes = segmenter.headerBytes + segmenter.payloadBytes(index);
      this.#writePlain(session, this.#cutAt, bytes);
    }
  }

  /** As it stands; the device is told nothing of it. */
  #writePlain(session: SessionState, at: number, bytes: number): void {
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    view.setFloat64(header, 0);
    view.setUint16(header + 8, 0);
    const { device, counters } = session;
    if (device === null) counters.rxNoDevice++;
    else if (device.write(this.#arena, at, bytes) < 0) counters.rxErrors++;
    else {
      counters.rxPackets++;
      counters.rxBytes += bytes;
    }
  }
}
