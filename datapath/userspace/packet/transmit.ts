/** Reads frames from devices, segments large ones, adds headers, and queues the datagrams. */
import { dataHeaderBytes, encodeDataHeader } from "../../../l2tp/codec.ts";
import { Errno } from "../../../linux/errno.ts";
import { isDatagram } from "../offload/frame.ts";
import { Segmenter } from "../offload/segment.ts";
import { completeChecksum } from "../offload/transport-checksum.ts";
import { GsoType, NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { type Arena, FRAME_CAPACITY } from "./arena.ts";
import { COST } from "./deficit.ts";
import { BATCH_FRAMES, type FrameBatch, type FrameDevice } from "./ports.ts";
import type { SendQueue } from "./send-queue.ts";
import type { PacketSession } from "./session.ts";
import { outerTrafficClass } from "./traffic-class.ts";

/** The maximum number of frames in a turn, so that other devices are served. The account may allow fewer. */
const MAX_FRAMES = 64;
/** The largest UDP payload over IPv6. An IPv4 socket rejects payloads that it cannot send. */
const MAX_DATAGRAM_BYTES = 65_527;

/** Batches of fewer or larger frames are not faster than single reads. */
const LEAST_BATCH = 4;
const MAX_BATCHED_COST = 4096;
/** Reads per system call. Few, because the cost of the frames is known only afterward. */
const READS_PER_CALL = 16;
/** Turns that read one frame at a time, after a batch of large frames. */
const SINGLE_TURNS = 256;

export class Transmitter {
  readonly #arena: Arena;
  readonly #queue: SendQueue;
  readonly #batch: FrameBatch | null;
  readonly #segmenter: Segmenter;

  constructor(arena: Arena, queue: SendQueue, batch: FrameBatch | null) {
    this.#arena = arena;
    this.#queue = queue;
    this.#batch = batch;
    this.#segmenter = new Segmenter(arena);
  }

  /** Queues frames from the session's device, within its account's credit. False: the device is lost. */
  readDevice(session: PacketSession): boolean {
    const { device } = session;
    if (device === null) return true;
    const expected = session.expectedFrames;
    return this.#batch !== null && expected >= LEAST_BATCH
      ? this.#readMany(session, device, this.#batch, Math.min(expected, BATCH_FRAMES))
      : this.#readEach(session, device);
  }

  #readEach(session: PacketSession, device: FrameDevice): boolean {
    const { account } = session;
    let frames = 0;
    let cost = 0;
    for (; frames < MAX_FRAMES && account.isOpen; frames++) {
      const at = this.#queue.frameAt();
      const bytes = device.read(this.#arena, at, FRAME_CAPACITY);
      if (bytes === 0) break;
      const taken = this.#take(session, at, bytes);
      if (taken < 0) return false;
      cost += taken;
      account.spend(taken);
    }
    if (session.expectedFrames < 0) session.expectedFrames++;
    else session.expectedFrames = cost < frames * MAX_BATCHED_COST ? frames : 0;
    return true;
  }

  /** Reads the expected number of frames, several in one system call. */
  #readMany(
    session: PacketSession,
    device: FrameDevice,
    batch: FrameBatch,
    expected: number,
  ): boolean {
    const { account } = session;
    let frames = 0;
    let cost = 0;
    for (let asked = 0; asked < expected && frames === asked && account.isOpen; ) {
      const reads = Math.min(READS_PER_CALL, expected - asked);
      const first = this.#read(device, batch, reads);
      asked += reads;
      for (let index = 0; index < reads; index++) {
        const bytes = batch.result(index);
        if (bytes === 0) continue;
        const taken = this.#take(session, this.#queue.reservedAt(first + index), bytes);
        if (taken < 0) return false;
        cost += taken;
        account.spend(taken);
        frames++;
      }
    }
    // If all expected frames came, the device may have more.
    const next = frames === expected ? 2 * frames : frames;
    session.expectedFrames = cost < frames * MAX_BATCHED_COST ? next : -SINGLE_TURNS;
    return true;
  }

  /** Reads up to `count` frames. Returns the slot of the first. */
  #read(device: FrameDevice, batch: FrameBatch, count: number): number {
    const first = this.#queue.reserveFrames(count);
    for (let index = 0; index < count; index++) {
      batch.setRead(index, device, this.#queue.reservedAt(first + index), FRAME_CAPACITY);
    }
    batch.run(count);
    return first;
  }

  /**
   * Processes the result of a read to `at`.
   * @param bytes the frame's bytes, or −errno
   * @returns the cost; −1: the device is lost
   */
  #take(session: PacketSession, at: number, bytes: number): number {
    if (bytes > 0) return this.#takeFrame(session, at, bytes);
    if (bytes !== -Errno.EINVAL) return -1;
    // The kernel dropped a frame that virtio_net_hdr cannot describe. The device still works.
    session.counters.txErrors++;
    return COST.crossing;
  }

  #takeFrame(session: PacketSession, at: number, bytes: number): number {
    // The session is not established.
    if (session.tx.sessionId === 0) {
      session.counters.txErrors++;
      return COST.crossing;
    }
    const { view } = this.#arena;
    if (session.sourceHead >= 0 && !hasSource(view, at, session)) {
      session.counters.txSpoofed++;
      return COST.crossing;
    }
    // Read the device's header first: the rewriter may overwrite it.
    const header = at - VNET_HEADER_BYTES;
    const gsoType = view.getUint8(header + VNET.gsoType);
    const gsoSize = view.getUint16(header + VNET.gsoSize, true);
    const needsChecksum = (view.getUint8(header + VNET.flags) & NEEDS_CHECKSUM) !== 0;
    const checksumStart = view.getUint16(header + VNET.checksumStart, true);
    const field = view.getUint16(header + VNET.checksumOffset, true);
    const end = at + bytes;
    const from = session.rewriter === null ? at : session.rewriter.toWire(this.#arena, at, end);
    // A packet socket in the pod can send anything. The segmenter checks the headers of large frames.
    const isForeign = session.isBare && gsoType === GsoType.None && !isDatagram(view, at, end);
    let datagrams = 0;
    if (from >= 0 && !isForeign) {
      const start = checksumStart + at - from;
      if (gsoType !== GsoType.None) {
        datagrams = this.#takeLarge(session, from, end, gsoType, gsoSize, start);
      } else if (!needsChecksum || completeChecksum(this.#arena, from, end, start, field)) {
        datagrams = this.#takePlain(session, at, from, end - from) ? 1 : 0;
      }
    }
    if (datagrams === 0) session.counters.txErrors++;
    // Without segmentation the kernel receives each datagram singly.
    const each = session.tunnel.segmentLimit > 0 ? COST.datagram : COST.crossing;
    return bytes + COST.crossing + datagrams * each;
  }

  /** @param slot address to which the device read the frame @param at address of the frame in wire format */
  #takePlain(session: PacketSession, slot: number, at: number, bytes: number): boolean {
    const { tx } = session;
    const headerBytes = dataHeaderBytes(tx);
    if (headerBytes + bytes > MAX_DATAGRAM_BYTES) return false;
    // The header overwrites the device's header in front of the frame.
    encodeDataHeader(this.#arena.view, at - headerBytes, tx);
    const trafficClass = outerTrafficClass(this.#arena.view, session, at, at + bytes);
    this.#queue.add(session, at - headerBytes, headerBytes + bytes, bytes, trafficClass);
    this.#queue.keepFrame(slot);
    return true;
  }

  #takeLarge(
    session: PacketSession,
    at: number,
    end: number,
    gsoType: number,
    gsoSize: number,
    checksumStart: number,
  ): number {
    const segmenter = this.#segmenter;
    const queue = this.#queue;
    const { tx } = session;
    const count = segmenter.start(at, end, gsoType, gsoSize, checksumStart, session.isBare);
    if (count === 0) return 0;
    // A segment above the session's maximum: a stack with the device's MTU does not create it.
    const frameBytes = segmenter.headerBytes + segmenter.payloadBytes(0);
    if (frameBytes > session.maxFrameBytes) return 0;
    const headerBytes = dataHeaderBytes(tx);
    const trafficClass = outerTrafficClass(this.#arena.view, session, at, end);
    const batch = queue.fitting(headerBytes + frameBytes);
    for (let first = 0; first < count; first += batch) {
      const some = Math.min(batch, count - first);
      this.#takeSegments(session, first, some, headerBytes, trafficClass);
    }
    return count;
  }

  #takeSegments(
    session: PacketSession,
    first: number,
    count: number,
    headerBytes: number,
    trafficClass: number,
  ): void {
    const { view } = this.#arena;
    const segmenter = this.#segmenter;
    const { tx } = session;
    const frameBytes = segmenter.headerBytes + segmenter.payloadBytes(first);
    const lastBytes = segmenter.headerBytes + segmenter.payloadBytes(first + count - 1);
    const size = headerBytes + frameBytes;
    const at = this.#queue.writeAt((count - 1) * size + headerBytes + lastBytes);
    encodeDataHeader(view, segmenter.headersAt - headerBytes, tx);
    segmenter.write(first, count, at, headerBytes);
    if (tx.sequencing) {
      for (let index = 1; index < count; index++) encodeDataHeader(view, at + index * size, tx);
    }
    const equal = lastBytes === frameBytes ? count : count - 1;
    this.#queue.add(session, at, size, frameBytes, trafficClass, equal);
    if (equal < count) {
      const last = at + equal * size;
      this.#queue.add(session, last, headerBytes + lastBytes, lastBytes, trafficClass);
    }
  }
}

const SOURCE_AT = 6;

function hasSource(view: DataView, at: number, { sourceHead, sourceTail }: PacketSession): boolean {
  return (
    view.getUint16(at + SOURCE_AT) === sourceHead &&
    view.getInt32(at + SOURCE_AT + 2) === sourceTail
  );
}
