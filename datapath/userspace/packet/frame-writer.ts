/** Writes received frames to the session's device, and joins consecutive ones if possible. */

import { Errno } from "../../../linux/errno.ts";
import { Coalescer } from "../offload/coalesce.ts";
import { isDatagram } from "../offload/frame.ts";
import { Segmenter } from "../offload/segment.ts";
import { NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { type Arena, FrameSlots } from "./arena.ts";
import { BATCH_FRAMES, type FrameBatch } from "./ports.ts";
import type { PacketSession } from "./session.ts";

/** The capacity of a stage slot. Larger frames are written from their place, before the next. */
const STAGE_BYTES = 2048;

export class FrameWriter {
  readonly #arena: Arena;
  /** Null: each frame is written alone. */
  readonly #batch: FrameBatch | null;
  /** The sessions of queued frames, and the frames' bytes on the wire. */
  readonly #sessions: PacketSession[] = [];
  readonly #bytes: Int32Array;
  #queued = 0;
  /** The end address of the last queued frame. */
  #queuedEnd = 0;
  readonly #stage: number;
  readonly #coalescer: Coalescer;
  readonly #segmenter: Segmenter;
  /** Address of a buffer for segments of a large frame that its device rejected. */
  readonly #cutAt: number;
  readonly #refused: (session: PacketSession, errno: number) => void;
  /** The session of the pending frames. */
  #pendingFor: PacketSession | null = null;
  #pendingBytes = 0;
  /** Frames written so far; a large frame counts once. Wraps around. */
  writes = 0;

  /** Bytes that it needs in the arena. */
  static readonly BYTES = FrameSlots.bytes(1) + BATCH_FRAMES * STAGE_BYTES;

  /** @param base address of FrameWriter.BYTES in the arena */
  constructor(
    arena: Arena,
    base: number,
    batch: FrameBatch | null,
    refused: (session: PacketSession, errno: number) => void,
  ) {
    this.#arena = arena;
    this.#batch = batch;
    this.#bytes = new Int32Array(BATCH_FRAMES);
    this.#stage = base + FrameSlots.bytes(1);
    this.#coalescer = new Coalescer(arena);
    this.#segmenter = new Segmenter(arena);
    this.#cutAt = new FrameSlots(base).at(0);
    this.#refused = refused;
  }

  /**
   * Accepts a frame in wire format. It must stay in place until `flush`. The bytes in front of it, and after it up to
   * `limit`, may be overwritten.
   */
  deliver(session: PacketSession, at: number, bytes: number, limit: number): void {
    const { device, isBare } = session;
    if (device === null) {
      session.counters.rxNoDevice++;
      return;
    }
    const coalescer = this.#coalescer;
    if (session === this.#pendingFor && coalescer.join(at, at + bytes)) {
      this.#pendingBytes += bytes;
      return;
    }
    if (isBare && !isDatagram(this.#arena.view, at, at + bytes)) return countNotIp(session);
    this.#writePending();
    if (device.acceptedGso === "none") return this.#writeAlone(session, at, bytes);
    coalescer.begin(at, at + bytes, limit, device.acceptedGso === "all", isBare);
    this.#pendingFor = session;
    this.#pendingBytes = bytes;
  }

  /**
   * As `deliver`, for adjacent frames of one message, while they continue the pending frame: see Coalescer.
   * @returns the number of accepted frames
   */
  deliverMany(session: PacketSession, headerBytes: number, at: number, size: number, end: number) {
    if (session !== this.#pendingFor) return 0;
    const joined = this.#coalescer.joinMany(headerBytes, at, size, end);
    this.#pendingBytes += Math.min(end - at, joined * size) - joined * headerBytes;
    return joined;
  }

  /** Writes all pending and queued frames. */
  flush(): void {
    this.#writePending();
    this.#writeQueued();
  }

  #writePending(): void {
    const session = this.#pendingFor;
    if (session === null) return;
    this.#pendingFor = null;
    const coalescer = this.#coalescer;
    const { at: first, end, frames } = coalescer;
    coalescer.finish();
    if (frames === 1) return this.#writeAlone(session, first, end - first);
    // A queued frame may be at the place of the header.
    this.#writeQueued();
    const at = this.#rewrite(session, first, end, frames);
    if (at < 0) return;
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    const shift = first - at;
    view.setUint8(header + VNET.flags, NEEDS_CHECKSUM);
    view.setUint8(header + VNET.gsoType, coalescer.gsoType);
    view.setUint16(header + VNET.headerBytes, coalescer.headerBytes + shift, true);
    view.setUint16(header + VNET.gsoSize, coalescer.segmentBytes, true);
    view.setUint16(header + VNET.checksumStart, coalescer.checksumStart + shift, true);
    view.setUint16(header + VNET.checksumOffset, coalescer.checksumOffset, true);
    this.#writeLarge(session, at, end - at, frames, shift);
  }

  /**
   * Converts a frame from wire format to device format, in place.
   * @param frames the number of frames in it
   * @returns its address; below 0: the frame was dropped and counted
   */
  #rewrite(session: PacketSession, at: number, end: number, frames: number): number {
    const { rewriter } = session;
    if (rewriter === null) return at;
    const from = rewriter.fromWire(this.#arena, at, end, frames);
    if (from < 0) session.counters.rxErrors += frames;
    return from;
  }

  #writeLarge(
    session: PacketSession,
    at: number,
    length: number,
    frames: number,
    shift: number,
  ): void {
    const { device, counters } = session;
    if (device === null) {
      counters.rxNoDevice += frames;
      return;
    }
    this.writes = (this.writes + 1) | 0;
    const status = device.write(this.#arena, at, length);
    if (status === -Errno.EINVAL) {
      // The kernel will not accept it later either.
      if (device.acceptedGso !== "none") this.#refused(session, Errno.EINVAL);
      device.acceptedGso = "none";
      this.#writeCut(session, at, at + length, shift);
    } else {
      count(session, frames, this.#pendingBytes, status);
    }
  }

  #writeCut(session: PacketSession, at: number, end: number, shift: number): void {
    const { gsoType, segmentBytes, checksumStart } = this.#coalescer;
    const segmenter = this.#segmenter;
    const { isBare } = session;
    const count = segmenter.start(at, end, gsoType, segmentBytes, checksumStart + shift, isBare);
    for (let index = 0; index < count; index++) {
      segmenter.write(index, 1, this.#cutAt, 0);
      const bytes = segmenter.headerBytes + segmenter.payloadBytes(index);
      this.#writePlain(session, this.#cutAt, bytes, bytes - shift);
      this.#writeQueued();
    }
  }

  /** Writes a frame in wire format that is not joined to others. */
  #writeAlone(session: PacketSession, at: number, bytes: number): void {
    const end = at + bytes;
    const from = this.#rewrite(session, at, end, 1);
    if (from >= 0) this.#writePlain(session, from, end - from, bytes);
  }

  /**
   * Writes a frame in device format, with an empty virtio_net_hdr.
   * @param wireBytes bytes of the frame in wire format
   */
  #writePlain(session: PacketSession, at: number, bytes: number, wireBytes: number): void {
    const { device } = session;
    if (device === null) {
      session.counters.rxNoDevice++;
      return;
    }
    this.writes = (this.writes + 1) | 0;
    const batch = this.#batch;
    if (batch === null) {
      this.#clearHeader(at);
      count(session, 1, wireBytes, device.write(this.#arena, at, bytes));
      return;
    }
    const from = this.#place(at, bytes);
    this.#clearHeader(from);
    const index = this.#queued;
    batch.setWrite(index, device, from, bytes);
    this.#sessions[index] = session;
    this.#bytes[index] = wireBytes;
    this.#queued++;
    this.#queuedEnd = at + bytes;
    if (this.#queued === BATCH_FRAMES) this.#writeQueued();
  }

  /** Returns the address to write the frame from: another one if its header would overwrite the frame queued before. */
  #place(at: number, bytes: number): number {
    if (this.#queued === 0 || at - VNET_HEADER_BYTES >= this.#queuedEnd || at < this.#queuedEnd) {
      return at;
    }
    if (bytes + VNET_HEADER_BYTES > STAGE_BYTES) {
      this.#writeQueued();
      return at;
    }
    const to = this.#stage + this.#queued * STAGE_BYTES + VNET_HEADER_BYTES;
    this.#arena.copySum(at, to, bytes);
    return to;
  }

  #writeQueued(): void {
    const queued = this.#queued;
    if (queued === 0 || this.#batch === null) return;
    this.#queued = 0;
    this.#batch.run(queued);
    for (let index = 0; index < queued; index++) {
      const session = this.#sessions[index] as PacketSession;
      count(session, 1, this.#bytes[index] as number, this.#batch.result(index));
    }
  }

  #clearHeader(at: number): void {
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    view.setFloat64(header, 0);
    view.setUint16(header + 8, 0);
  }
}

/** @param status result of the write: 0, or −errno */
function count({ counters }: PacketSession, frames: number, bytes: number, status: number): void {
  if (status < 0) counters.rxErrors += frames;
  else {
    counters.rxPackets += frames;
    counters.rxBytes += bytes;
  }
}

function countNotIp({ counters }: PacketSession): void {
  counters.rxNotIp++;
  counters.rxInvalid++;
  counters.rxErrors++;
}
