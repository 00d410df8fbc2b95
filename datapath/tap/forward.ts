/**
 * The packet path: frames from devices into datagrams, and back. It never allocates, throws or logs;
 * it counts. Frames travel device → TransmitQueue → socket, and socket → receive → deliver → device.
 */
import {
  createHeaderOut,
  DecodeStatus,
  dataHeaderBytes,
  decodeSessionHeader,
  decodeSessionId,
  encodeDataHeader,
} from "../../l2tp/codec.ts";
import { type ReceiveOrder, Verdict } from "../../l2tp/reorder.ts";
import { BATCH_SIZE, FRAME_CAPACITY, PacketBatch } from "./batch.ts";
import { HELD_FRAMES, type SessionState } from "./session.ts";
import { looksMisaligned } from "./sublayer.ts";
import type { LocalEndpoint, TunnelState } from "./tunnel.ts";

const ETHERNET_HEADER_BYTES = 14;
/** Frames that all sessions together may hold for reordering. */
const HOLD_POOL_SLOTS = 16 * HELD_FRAMES;

export class Forwarder {
  readonly #tx = new PacketBatch(0);
  readonly #rx = new PacketBatch(HOLD_POOL_SLOTS);
  readonly #header = createHeaderOut();
  /** Who sent the frame in each slot of `#tx`, and how long it was. */
  readonly #senders: (SessionState | null)[] = new Array(BATCH_SIZE).fill(null);
  readonly #frameBytes = new Int32Array(BATCH_SIZE);
  #queued = 0;
  #queuedFor: TunnelState | null = null;
  /** A stack of the free slots of the hold pool. */
  readonly #freeHolds = Int32Array.from({ length: HOLD_POOL_SLOTS }, (_, i) => BATCH_SIZE + i);
  #freeHoldCount = HOLD_POOL_SLOTS;
  readonly #waiting = new Set<SessionState>();

  /** Queues at most a batch of the frames that wait in the session's device. False: device lost. */
  readDevice(session: SessionState): boolean {
    const { device, tx, tunnel, counters } = session;
    if (device === null) return true;
    const headerBytes = dataHeaderBytes(tx);
    this.#startQueue(tunnel);
    for (let budget = BATCH_SIZE; budget > 0; budget--) {
      if (this.#queued === BATCH_SIZE) this.flush();
      const slot = this.#queued;
      const offset = this.#tx.frameOffset(slot);
      const bytes = device.read(this.#tx, offset, FRAME_CAPACITY);
      if (bytes === 0) break;
      if (bytes < 0) return false;
      if (bytes > FRAME_CAPACITY - headerBytes) {
        counters.txErrors++;
        continue;
      }
      encodeDataHeader(this.#tx.view, offset - headerBytes, tx);
      this.#tx.setPayload(slot, offset - headerBytes, headerBytes + bytes);
      this.#tx.setDestination(slot, tunnel.remote);
      this.#senders[slot] = session;
      this.#frameBytes[slot] = bytes;
      this.#queued++;
    }
    return true;
  }

  /** Sends what is queued. */
  flush(): void {
    const tunnel = this.#queuedFor;
    if (tunnel === null || this.#queued === 0) return;
    const { socket } = tunnel.endpoint;
    const total = this.#queued;
    socket.setTransmitChecksum(tunnel.config.udpChecksum);
    for (let first = 0; first < total; ) {
      const sent = socket.send(this.#tx, first, total - first);
      if (sent > 0) {
        this.#countSent(first, first + sent);
        first += sent;
      } else {
        this.#countUnsent(first, sent);
        first++;
      }
    }
    this.#queued = 0;
  }

  /** Takes at most a batch of the datagrams that wait at the endpoint. */
  readEndpoint(endpoint: LocalEndpoint, now: number): void {
    const count = endpoint.socket.receive(this.#rx);
    if (count < 0) {
      endpoint.counters.rxErrors++;
      return;
    }
    endpoint.counters.rxPackets += count;
    for (let slot = 0; slot < count; slot++) this.#receive(endpoint, slot, now);
  }

  /** Delivers held frames that have waited long enough. */
  expire(now: number): void {
    for (const session of this.#waiting) this.#drain(session, now);
  }

  /** When `expire` has something to do; Infinity where nothing waits. */
  nextDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { order } of this.#waiting) {
      if (order !== null) earliest = Math.min(earliest, order.deadline());
    }
    return earliest;
  }

  /** Delivers all that the session holds: it goes away, or its sequencing changes. */
  release(session: SessionState): void {
    const { order, counters } = session;
    if (order === null) return;
    const skippedBefore = order.skipped;
    while (order.held > 0) this.#deliverHeld(session, order.release());
    counters.rxOosPackets += order.skipped - skippedBefore;
    this.#waiting.delete(session);
  }

  /** A send call goes to one socket with one checksum setting: anything else flushes before. */
  #startQueue(tunnel: TunnelState): void {
    const before = this.#queuedFor;
    if (
      before !== null &&
      (before.endpoint !== tunnel.endpoint ||
        before.config.udpChecksum !== tunnel.config.udpChecksum)
    ) {
      this.flush();
    }
    this.#queuedFor = tunnel;
  }

  #countSent(first: number, end: number): void {
    for (let slot = first; slot < end; slot++) {
      const session = this.#senders[slot] as SessionState;
      session.counters.txPackets++;
      session.counters.txBytes += this.#frameBytes[slot] as number;
      session.tunnel.lastSendErrno = 0;
    }
  }

  #countUnsent(slot: number, negativeErrno: number): void {
    const session = this.#senders[slot] as SessionState;
    session.counters.txErrors++;
    session.tunnel.lastSendErrno = -negativeErrno;
  }

  #receive(endpoint: LocalEndpoint, slot: number, now: number): void {
    const { view } = this.#rx;
    const header = this.#header;
    let offset = this.#rx.frameOffset(slot);
    const length = this.#rx.receivedLength(slot);
    const end = offset + length;
    if (this.#rx.wasTruncated(slot)) {
      endpoint.counters.rxTruncated++;
      return;
    }
    if (endpoint.receivesIpHeader) {
      if (length < 20) {
        endpoint.counters.rxShort++;
        return;
      }
      offset += (view.getUint8(offset) & 0x0f) * 4;
    }
    const status = decodeSessionId(view, offset, end, endpoint.overUdp, header);
    if (status !== DecodeStatus.Ok) {
      if (status === DecodeStatus.Short) endpoint.counters.rxShort++;
      else if (status === DecodeStatus.Control) endpoint.counters.rxControl++;
      else endpoint.counters.rxWrongVersion++;
      return;
    }
    const session = endpoint.sessionOf(header.sessionId);
    if (session === undefined) {
      endpoint.counters.rxUnknownSession++;
      endpoint.lastUnknownSession = header.sessionId;
      return;
    }
    if (!this.#rx.isFrom(slot, session.tunnel.remote, !endpoint.overUdp)) {
      session.counters.rxSourceMismatch++;
      this.#rx.copyName(slot, session.tunnel.strangerName);
      session.tunnel.strangers++;
      return;
    }
    this.#receiveForSession(session, end, now);
  }

  /** The rest of the message, from where the session id ended. */
  #receiveForSession(session: SessionState, end: number, now: number): void {
    const { counters } = session;
    const header = this.#header;
    const status = decodeSessionHeader(this.#rx.view, end, session.rx, header);
    if (status !== DecodeStatus.Ok) {
      counters.rxErrors++;
      if (status === DecodeStatus.BadCookie) counters.rxCookieDiscards++;
      else counters.rxInvalid++;
      return;
    }
    session.lastReceivedMs = now;
    const bytes = end - header.next;
    if (bytes < ETHERNET_HEADER_BYTES) {
      counters.rxInvalid++;
      counters.rxErrors++;
      return;
    }
    if (looksMisaligned(this.#rx.view, header.next, bytes, session.rx.sublayer)) {
      counters.rxSublayerSuspect++;
    }
    if (bytes > session.maxFrameBytes) {
      counters.rxOversize++;
      counters.rxErrors++;
      return;
    }
    if (session.order === null) this.#deliver(session, header.next, bytes);
    else if (header.sequence < 0) counters.rxSeqDiscards++;
    else this.#sequence(session, header.sequence, header.next, bytes, now);
  }

  #sequence(
    session: SessionState,
    sequence: number,
    offset: number,
    bytes: number,
    now: number,
  ): void {
    const order = session.order;
    if (order === null) return;
    const skippedBefore = order.skipped;
    let verdict = order.offer(sequence, now);
    while (verdict === Verdict.MakeRoom) {
      this.#deliverHeld(session, order.release());
      verdict = order.offer(sequence, now);
    }
    if (verdict === Verdict.Deliver) this.#deliver(session, offset, bytes);
    else if (verdict === Verdict.Late) session.counters.rxSeqDiscards++;
    else this.#hold(session, order.slotOf(sequence), offset, bytes);
    session.counters.rxOosPackets += order.skipped - skippedBefore;
    this.#drain(session, now);
  }

  #hold(session: SessionState, orderSlot: number, offset: number, bytes: number): void {
    this.#waiting.add(session);
    if (this.#freeHoldCount === 0)
      return this.#deliverWithoutRoom(session, orderSlot, offset, bytes);
    this.#freeHoldCount--;
    const poolSlot = this.#freeHolds[this.#freeHoldCount] as number;
    session.held[orderSlot] = poolSlot;
    session.heldBytes[orderSlot] = bytes;
    this.#rx.bytes.copyWithin(this.#rx.frameOffset(poolSlot), offset, offset + bytes);
  }

  /** No room to wait in: the session gives up what it waits for, and so gives room to others. */
  #deliverWithoutRoom(
    session: SessionState,
    orderSlot: number,
    offset: number,
    bytes: number,
  ): void {
    const order = session.order as ReceiveOrder;
    for (let slot = order.release(); slot >= 0; slot = order.release()) {
      if (slot === orderSlot) this.#deliver(session, offset, bytes);
      else this.#deliverHeld(session, slot);
    }
  }

  #drain(session: SessionState, now: number): void {
    const order = session.order;
    if (order === null || order.held === 0) {
      this.#waiting.delete(session);
      return;
    }
    const skippedBefore = order.skipped;
    for (let slot = order.next(now); slot >= 0; slot = order.next(now)) {
      this.#deliverHeld(session, slot);
    }
    session.counters.rxOosPackets += order.skipped - skippedBefore;
    if (order.held === 0) this.#waiting.delete(session);
  }

  #deliverHeld(session: SessionState, orderSlot: number): void {
    const poolSlot = session.held[orderSlot] as number;
    this.#deliver(session, this.#rx.frameOffset(poolSlot), session.heldBytes[orderSlot] as number);
    this.#freeHolds[this.#freeHoldCount] = poolSlot;
    this.#freeHoldCount++;
  }

  #deliver(session: SessionState, offset: number, bytes: number): void {
    const { device, counters } = session;
    if (device === null) {
      counters.rxNoDevice++;
      return;
    }
    if (device.write(this.#rx, offset, bytes) < 0) {
      counters.rxErrors++;
      return;
    }
    counters.rxPackets++;
    counters.rxBytes += bytes;
  }
}
