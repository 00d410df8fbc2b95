/** From devices to sockets: frames get their headers, large ones are cut, and all are queued. */
import { dataHeaderBytes, encodeDataHeader } from "../../l2tp/codec.ts";
import { Segmenter } from "../offload/segment.ts";
import { completeChecksum } from "../offload/transport-checksum.ts";
import { GsoType, NEEDS_CHECKSUM, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { Errno } from "../sys/errno.ts";
import { type Arena, FRAME_CAPACITY } from "./arena.ts";
import type { SendQueue } from "./send-queue.ts";
import type { SessionState } from "./session.ts";

/** Of one device in a row, so that others have their turn. */
const MAX_FRAMES = 64;
const MAX_COST = 256 * 1024;
/** In bytes. */
const DATAGRAM_COST = 128;
/** What UDP over IPv6 can hold; IPv4's socket refuses what it cannot. */
const MAX_DATAGRAM_BYTES = 65_527;

export class Transmitter {
  readonly #arena: Arena;
  readonly #queue: SendQueue;
  readonly #segmenter: Segmenter;

  constructor(arena: Arena, queue: SendQueue) {
    this.#arena = arena;
    this.#queue = queue;
    this.#segmenter = new Segmenter(arena);
  }

  /** Queues some of the frames that wait in the session's device. False: device lost. */
  readDevice(session: SessionState): boolean {
    const { device } = session;
    if (device === null) return true;
    for (let frames = 0, cost = 0; frames < MAX_FRAMES && cost < MAX_COST; frames++) {
      const at = this.#queue.frameAt();
      const bytes = device.read(this.#arena, at, FRAME_CAPACITY);
      if (bytes === 0) break;
      // One that the kernel cannot express is gone; the next may do.
      if (bytes === -Errno.EINVAL) session.counters.txErrors++;
      else if (bytes < 0) return false;
      else cost += this.#take(session, at, bytes);
    }
    return true;
  }

  /** @returns bytes of what is sent now, and as many as a datagram costs beside them */
  #take(session: SessionState, at: number, bytes: number): number {
    const { view } = this.#arena;
    const header = at - VNET_HEADER_BYTES;
    const gsoType = view.getUint8(header + VNET.gsoType);
    const start = view.getUint16(header + VNET.checksumStart, true);
    let datagrams = 1;
    if (gsoType !== GsoType.None) {
      const gsoSize = view.getUint16(header + VNET.gsoSize, true);
      datagrams = this.#takeLarge(session, at, at + bytes, gsoType, gsoSize, start);
    } else {
      if ((view.getUint8(header + VNET.flags) & NEEDS_CHECKSUM) !== 0) {
        const field = view.getUint16(header + VNET.checksumOffset, true);
        if (!completeChecksum(this.#arena, at, at + bytes, start, field)) datagrams = 0;
      }
      if (datagrams > 0 && !this.#takePlain(session, at, bytes)) datagrams = 0;
    }
    if (datagrams === 0) session.counters.txErrors++;
    return bytes + datagrams * DATAGRAM_COST;
  }

  #takePlain(session: SessionState, at: number, bytes: number): boolean {
    const { tx } = session;
    const headerBytes = dataHeaderBytes(tx);
    if (headerBytes + bytes > MAX_DATAGRAM_BYTES) return false;
    // In front of the frame, over what the device said of it.
    encodeDataHeader(this.#arena.view, at - headerBytes, tx);
    this.#queue.add(session, at - headerBytes, headerBytes + bytes, bytes);
    this.#queue.keepFrame();
    return true;
  }

  #takeLarge(
    session: SessionState,
    at: number,
    end: number,
    gsoType: number,
    gsoSize: number,
    checksumStart: number,
  ): number {
    const segmenter = this.#segmenter;
    const queue = this.#queue;
    const { tx } = session;
    const count = segmenter.start(at, end, gsoType, gsoSize, checksumStart);
    if (count === 0) return 0;
    // Larger than any frame that the session takes: no stack of the device's MTU makes such.
    if (segmenter.headerBytes + segmenter.payloadBytes(0) > session.maxFrameBytes) return 0;
    const headerBytes = dataHeaderBytes(tx);
    for (let index = 0; index < count; index++) {
      const frameBytes = segmenter.headerBytes + segmenter.payloadBytes(index);
      const to = queue.writeAt(headerBytes + frameBytes);
      encodeDataHeader(this.#arena.view, to, tx);
      segmenter.write(index, to + headerBytes);
      queue.add(session, to, headerBytes + frameBytes, frameBytes);
    }
    return count;
  }
}
