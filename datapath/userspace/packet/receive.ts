/** From sockets to sessions: whose datagram it is, whether it may be, and in which order its frame is due. */
import {
  createHeaderOut,
  DecodeStatus,
  decodeSessionHeader,
  decodeSessionId,
} from "../../../l2tp/codec.ts";
import { type ReceiveOrder, Verdict } from "../../../l2tp/reorder.ts";
import { SOCKADDR_BYTES } from "../../../linux/socket.ts";
import { IPV4_HEADER_BYTES } from "../../../net/headers.ts";
import { type Arena, FRAME_CAPACITY, Slots } from "./arena.ts";
import { COST } from "./deficit.ts";
import type { Delivery } from "./deliver.ts";
import { ReceiveBatch } from "./receive-batch.ts";
import { HELD_FRAMES, type SessionState } from "./session.ts";
import type { LocalEndpoint, TunnelState } from "./tunnel.ts";

/** Messages that one system call receives: nobody knows before what they cost. */
const MESSAGES_PER_CALL = 16;

/** Frames that all sessions together may hold for reordering. */
const HOLD_POOL_SLOTS = 16 * HELD_FRAMES;

/**
 * Takes or drops a control message, without allocation if it drops it. The octets from `at` to
 * `end`, behind the UDP or IP header, are there until it returns. False: no control connection is
 * with the sender.
 */
export type ControlReceiver = (
  endpoint: LocalEndpoint,
  sockaddr: Uint8Array,
  memory: PacketBytes,
  at: number,
  end: number,
  now: number,
) => boolean;

/** Where a control message stands. */
export interface PacketBytes {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export class Receiver {
  readonly #arena: Arena;
  readonly #batch: ReceiveBatch;
  readonly #holds: Slots;
  readonly #delivery: Delivery;
  readonly #control: ControlReceiver;
  /** The struct sockaddr of a control message's sender. */
  readonly #sender = new Uint8Array(SOCKADDR_BYTES);
  readonly #header = createHeaderOut();
  /** Until where the frame at hand may grow: the end of its slot. */
  #limit = 0;
  /** The tunnel that the message at hand is known to have come from. */
  #knownSource: TunnelState | null = null;
  /** Whose the datagram at hand was, where its sequence number does not count. */
  #inOrder: SessionState | null = null;
  /** Counts batches; wraps around. */
  #turn = 0;
  /** Sessions that the batch at hand had frames for. */
  #heard = 0;
  /** A stack of the free slots of the hold pool. */
  readonly #freeHolds = Int32Array.from({ length: HOLD_POOL_SLOTS }, (_, slot) => slot);
  #freeHoldCount = HOLD_POOL_SLOTS;
  readonly #waiting = new Set<SessionState>();

  /** What it takes of the arena. */
  static readonly BYTES = ReceiveBatch.BYTES + Slots.bytes(HOLD_POOL_SLOTS);

  /** @param base of Receiver.BYTES in the arena */
  constructor(arena: Arena, base: number, delivery: Delivery, control: ControlReceiver) {
    this.#arena = arena;
    this.#control = control;
    this.#batch = new ReceiveBatch(arena, base);
    this.#holds = new Slots(base + ReceiveBatch.BYTES);
    this.#delivery = delivery;
  }

  /** Takes at most a batch of the messages that wait at the endpoint, and no more than its share. */
  readEndpoint(endpoint: LocalEndpoint, now: number): void {
    const { messages } = this.#batch;
    const { account } = endpoint;
    const writesBefore = this.#delivery.writes;
    this.#turn = (this.#turn + 1) | 0;
    this.#heard = 0;
    let count = 0;
    do {
      const received = endpoint.socket.receive(messages, count, MESSAGES_PER_CALL);
      if (received < 0) endpoint.counters.rxErrors++;
      const end = count + Math.max(0, received);
      for (let slot = count; slot < end; slot++) account.spend(this.#take(endpoint, slot, now));
      count = end;
      if (received < MESSAGES_PER_CALL) break;
    } while (count < messages.count && account.isOpen);
    this.#delivery.flush();
    messages.expect(count);
    account.spend(((this.#delivery.writes - writesBefore) | 0) * COST.crossing);
    account.weight = Math.max(1, this.#heard);
  }

  /** @returns what the message in the slot costs, but for the frames that are written */
  #take(endpoint: LocalEndpoint, slot: number, now: number): number {
    const { messages, slots } = this.#batch;
    const length = messages.receivedBytes(slot);
    const segment = messages.receivedSegment(slot);
    const at = slots.at(slot);
    this.#knownSource = null;
    this.#limit = at + FRAME_CAPACITY;
    if (segment === 0 || segment >= length) {
      this.#receive(endpoint, slot, at, length, now);
      return length + COST.crossing;
    }
    this.#receiveMany(endpoint, slot, at, length, segment, now);
    return length + COST.crossing + (length / segment) * COST.datagram;
  }

  /** Delivers held frames that have waited long enough. */
  expire(now: number): void {
    for (const session of this.#waiting) this.#drain(session, now);
    this.#delivery.flush();
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
    this.#delivery.flush();
    counters.rxOosPackets += order.skipped - skippedBefore;
    this.#waiting.delete(session);
  }

  /** Datagrams of one sender that the kernel has joined; all are of one size, but the last may be shorter. */
  #receiveMany(
    endpoint: LocalEndpoint,
    slot: number,
    at: number,
    length: number,
    size: number,
    now: number,
  ): void {
    for (let done = 0; done < length; ) {
      this.#inOrder = null;
      this.#receive(endpoint, slot, at + done, Math.min(size, length - done), now);
      const headerBytes = this.#header.next - at - done;
      done += size;
      if (this.#inOrder === null) continue;
      // Those with the same header would be found just as right.
      const more = this.#delivery.deliverMany(
        this.#inOrder,
        headerBytes,
        at + done,
        size,
        at + length,
      );
      endpoint.counters.rxPackets += more;
      done += more * size;
    }
  }

  /** One datagram, of the message in the slot. */
  #receive(endpoint: LocalEndpoint, slot: number, at: number, length: number, now: number): void {
    const { view } = this.#arena;
    const { messages } = this.#batch;
    const header = this.#header;
    endpoint.counters.rxPackets++;
    let offset = at;
    const end = at + length;
    if (messages.wasTruncated(slot)) {
      endpoint.counters.rxTruncated++;
      return;
    }
    if (endpoint.receivesIpHeader) {
      if (length < IPV4_HEADER_BYTES) {
        endpoint.counters.rxShort++;
        return;
      }
      offset += (view.getUint8(offset) & 0x0f) * 4;
    }
    const status = decodeSessionId(view, offset, end, endpoint.overUdp, header);
    if (status !== DecodeStatus.Ok) {
      if (status === DecodeStatus.Short) endpoint.counters.rxShort++;
      else if (status === DecodeStatus.Control) {
        messages.copyName(slot, this.#sender);
        const isTaken = this.#control(endpoint, this.#sender, this.#arena, offset, end, now);
        if (!isTaken) endpoint.counters.rxControl++;
      } else endpoint.counters.rxWrongVersion++;
      return;
    }
    const session = endpoint.sessionOf(header.sessionId);
    if (session === undefined) {
      endpoint.counters.rxUnknownSession++;
      endpoint.lastUnknownSession = header.sessionId;
      messages.copyName(slot, endpoint.lastUnknownName);
      endpoint.lastUnknownMs = now;
      return;
    }
    const { tunnel } = session;
    if (tunnel !== this.#knownSource) {
      if (!messages.isFrom(slot, tunnel.remote, !endpoint.overUdp)) {
        session.counters.rxSourceMismatch++;
        messages.copyName(slot, tunnel.strangerName);
        tunnel.strangerMs = now;
        return;
      }
      this.#knownSource = tunnel;
    }
    this.#receiveForSession(session, end, now);
  }

  /** The rest of the message, from where the session id ended. */
  #receiveForSession(session: SessionState, end: number, now: number): void {
    const { counters } = session;
    const header = this.#header;
    const status = decodeSessionHeader(this.#arena.view, end, session.rx, header);
    if (status !== DecodeStatus.Ok) {
      counters.rxErrors++;
      if (status === DecodeStatus.BadCookie) counters.rxCookieDiscards++;
      else counters.rxInvalid++;
      return;
    }
    session.lastReceivedMs = now;
    if (session.heardInTurn !== this.#turn) {
      session.heardInTurn = this.#turn;
      this.#heard++;
    }
    const bytes = end - header.next;
    if (bytes < session.minWireBytes) {
      counters.rxInvalid++;
      counters.rxErrors++;
      return;
    }
    if (session.looksMisaligned(this.#arena.view, header.next, bytes, session.rx.sublayer)) {
      counters.rxSublayerSuspect++;
    }
    // A frame that is rewritten has its size behind that.
    if (bytes > session.maxFrameBytes && session.rewriter === null) {
      counters.rxOversize++;
      counters.rxErrors++;
      return;
    }
    if (session.isDirect) {
      this.#inOrder = session;
      this.#delivery.deliver(session, header.next, bytes, this.#limit);
    } else if (session.order === null) {
      this.#deliver(session, header.next, bytes, this.#limit);
    } else if (header.sequence < 0) counters.rxSeqDiscards++;
    else this.#sequence(session, header.sequence, header.next, bytes, now);
  }

  /** A frame as it is on the wire. */
  #deliver(session: SessionState, at: number, bytes: number, limit: number): void {
    const { rewriter } = session;
    if (rewriter === null) return this.#delivery.deliver(session, at, bytes, limit);
    const end = at + bytes;
    const from = rewriter.fromWire(this.#arena, at, end);
    const isOversize = end - from > session.maxFrameBytes;
    if (from >= 0 && !isOversize) {
      return this.#delivery.deliver(session, from, end - from, limit);
    }
    const { counters } = session;
    counters.rxErrors++;
    if (from < 0) counters.rxInvalid++;
    else counters.rxOversize++;
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
    if (verdict === Verdict.Deliver) this.#deliver(session, offset, bytes, this.#limit);
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
    // What is pending may lie in a slot that has been given back.
    this.#delivery.flush();
    this.#arena.bytes.copyWithin(this.#holds.at(poolSlot), offset, offset + bytes);
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
      if (slot === orderSlot) this.#deliver(session, offset, bytes, this.#limit);
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
    // It comes out of turn: behind what is pending there may be datagrams that nobody has read yet.
    this.#delivery.flush();
    const poolSlot = session.held[orderSlot] as number;
    const at = this.#holds.at(poolSlot);
    this.#deliver(session, at, session.heldBytes[orderSlot] as number, at + FRAME_CAPACITY);
    this.#freeHolds[this.#freeHoldCount] = poolSlot;
    this.#freeHoldCount++;
  }
}
