/** Receives datagrams: finds the session, checks source, cookie and size, and orders the frames. */
import {
  createHeaderOut,
  DecodeStatus,
  decodeSessionHeader,
  decodeSessionId,
} from "../../../l2tp/codec.ts";
import { type ReceiveOrder, ReorderVerdict } from "../../../l2tp/reorder.ts";
import { SOCKADDR_BYTES } from "../../../linux/socket.ts";
import { IPV4_HEADER_BYTES } from "../../../net/headers.ts";
import { ECN, propagateEcn } from "../offload/traffic-class.ts";
import { type Arena, FRAME_CAPACITY, FrameSlots } from "./arena.ts";
import type { CircuitTable } from "./circuit-table.ts";
import { COST } from "./deficit.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { ReceiveBatch } from "./receive-batch.ts";
import {
  HELD_FRAMES,
  type LocalEndpoint,
  type PacketSession,
  type PacketTunnel,
} from "./session.ts";
import type { Switcher } from "./switch.ts";

/** Messages per system call. Few, because their cost is known only afterward. */
const MESSAGES_PER_CALL = 16;

/** The maximum number of frames that all sessions together hold for reordering. */
const HOLD_POOL_SLOTS = 16 * HELD_FRAMES;

/**
 * Accepts or drops a control message; dropping does not allocate. The octets from `at` to `end`, after the UDP or IP
 * header, are valid until it returns. False: no control connection with the sender.
 */
export type ControlReceiver = (
  endpoint: LocalEndpoint,
  sockaddr: Uint8Array,
  memory: PacketBytes,
  at: number,
  end: number,
  now: number,
) => boolean;

/** The memory with a control message. */
export interface PacketBytes {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export class Receiver {
  readonly #arena: Arena;
  readonly #batch: ReceiveBatch;
  readonly #holds: FrameSlots;
  readonly #writer: FrameWriter;
  readonly #switcher: Switcher;
  readonly #control: ControlReceiver;
  /** The struct sockaddr of a control message's sender. */
  readonly #sender = new Uint8Array(SOCKADDR_BYTES);
  readonly #header = createHeaderOut();
  /** ECN of the current message that changes the frames in it: ECT(1) or congestion; 0: none. */
  #ecn: number = ECN.notCapable;
  /** Counts batches; wraps around. */
  #turn = 0;
  /** The number of sessions with frames in the current batch. */
  #heard = 0;
  /** A stack of the free slots of the hold pool. */
  readonly #freeHolds = Int32Array.from({ length: HOLD_POOL_SLOTS }, (_, slot) => slot);
  #freeHoldCount = HOLD_POOL_SLOTS;
  readonly #waiting = new Set<PacketSession>();

  /** Bytes that it needs in the arena. */
  static readonly BYTES = ReceiveBatch.BYTES + FrameSlots.bytes(HOLD_POOL_SLOTS);

  /** @param base address of Receiver.BYTES in the arena */
  constructor(
    arena: Arena,
    base: number,
    writer: FrameWriter,
    switcher: Switcher,
    control: ControlReceiver,
  ) {
    this.#arena = arena;
    this.#control = control;
    this.#batch = new ReceiveBatch(arena, base);
    this.#holds = new FrameSlots(base + ReceiveBatch.BYTES);
    this.#writer = writer;
    this.#switcher = switcher;
  }

  /** Receives at most a batch of messages from the endpoint, within its account's credit. */
  readEndpoint(endpoint: LocalEndpoint, now: number): void {
    const { messages } = this.#batch;
    const { account } = endpoint;
    const writesBefore = this.#writer.writes;
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
    this.#writer.flush();
    messages.expect(count);
    account.spend(((this.#writer.writes - writesBefore) | 0) * COST.crossing);
    account.weight = Math.max(1, this.#heard);
  }

  /** Processes the message in the slot. @returns its cost, without the cost of writing frames */
  #take(endpoint: LocalEndpoint, slot: number, now: number): number {
    const { messages, slots } = this.#batch;
    const length = messages.receivedBytes(slot);
    const segment = messages.receivedSegment(slot);
    const at = slots.at(slot);
    this.#ecn = endpoint.readsTrafficClass ? this.#ecnOf(endpoint, slot, at) : ECN.notCapable;
    if (segment === 0 || segment >= length) {
      const session = this.#sessionOf(endpoint, slot, at, at + length, now);
      if (session !== null && this.#isFromRemote(endpoint, slot, session, now)) {
        this.#accept(session, slot, at + length, now);
      }
      return length + COST.crossing;
    }
    this.#receiveMany(endpoint, slot, at, length, segment, now);
    return length + COST.crossing + (length / segment) * COST.datagram;
  }

  #ecnOf({ receivesIpHeader }: LocalEndpoint, slot: number, at: number): number {
    const { messages } = this.#batch;
    const trafficClass = receivesIpHeader
      ? this.#arena.view.getUint8(at + 1)
      : messages.receivedTrafficClass(slot);
    const ecn = trafficClass & ECN.congestion;
    return ecn === ECN.ect0 ? ECN.notCapable : ecn;
  }

  /** Delivers held frames whose time is up. */
  expire(now: number): void {
    if (this.#waiting.size === 0) return;
    for (const session of this.#waiting) this.#drain(session, now);
    this.#writer.flush();
    this.#switcher.flush();
  }

  /** Returns when `expire` must be called; Infinity: no frame is held. */
  nextDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { order } of this.#waiting) {
      if (order !== null) earliest = Math.min(earliest, order.deadline());
    }
    return earliest;
  }

  /** Delivers all held frames of a session that is deleted, or whose sequencing changes. */
  release(session: PacketSession): void {
    const { order, counters } = session;
    if (order === null) return;
    const skippedBefore = order.skipped;
    while (order.held > 0) this.#deliverHeld(session, order.release());
    this.#writer.flush();
    this.#switcher.flush();
    counters.rxOosPackets += order.skipped - skippedBefore;
    this.#waiting.delete(session);
  }

  /** Processes datagrams of one sender that the kernel has joined. All have one size; the last may be shorter. */
  #receiveMany(
    endpoint: LocalEndpoint,
    slot: number,
    at: number,
    length: number,
    size: number,
    now: number,
  ): void {
    // The tunnel whose remote sent the message.
    let source: PacketTunnel | null = null;
    const messageEnd = at + length;
    for (let from = at; from < messageEnd; ) {
      const end = Math.min(from + size, messageEnd);
      const session = this.#sessionOf(endpoint, slot, from, end, now);
      const headerFrom = from;
      from += size;
      if (session === null) continue;
      if (session.tunnel !== source && !this.#isFromRemote(endpoint, slot, session, now)) continue;
      source = session.tunnel;
      const { counters } = session;
      const previousBefore = counters.rxPreviousCookie;
      if (!this.#accept(session, slot, end, now)) continue;
      if (this.#carriesMark(session)) continue;
      // Following datagrams with the same header are valid, too.
      const headerBytes = this.#header.next - headerFrom;
      const more = this.#writer.deliverMany(session, headerBytes, from, size, messageEnd);
      endpoint.counters.rxPackets += more;
      if (counters.rxPreviousCookie !== previousBefore) counters.rxPreviousCookie += more;
      from += more * size;
    }
  }

  /**
   * Finds the session of one datagram in the slot's message by the session ID. Decodes the header up to that into
   * `#header`.
   * @returns null: the datagram belongs to no session, and was counted
   */
  #sessionOf(
    endpoint: LocalEndpoint,
    slot: number,
    at: number,
    end: number,
    now: number,
  ): PacketSession | null {
    const { view } = this.#arena;
    const { messages } = this.#batch;
    const header = this.#header;
    endpoint.counters.rxPackets++;
    let offset = at;
    if (messages.wasTruncated(slot)) {
      endpoint.counters.rxTruncated++;
      return null;
    }
    if (endpoint.receivesIpHeader) {
      if (end - at < IPV4_HEADER_BYTES) {
        endpoint.counters.rxShort++;
        return null;
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
      return null;
    }
    const session =
      endpoint.circuits === null
        ? endpoint.sessionOf(header.sessionId)
        : this.#sessionBetween(endpoint, endpoint.circuits, slot);
    if (session === undefined) {
      endpoint.counters.rxUnknownSession++;
      endpoint.lastUnknownSession = header.sessionId;
      return null;
    }
    return session;
  }

  /** Finds the session at a socket with keyed tunnels. A session of another tunnel may have the same ID. */
  #sessionBetween(
    endpoint: LocalEndpoint,
    circuits: CircuitTable<PacketSession>,
    slot: number,
  ): PacketSession | undefined {
    const { messages } = this.#batch;
    const { sessionId } = this.#header;
    const byId = endpoint.sessionOf(sessionId);
    if (byId !== undefined && messages.isFrom(slot, byId.tunnel.remote, true)) return byId;
    const keyed = circuits.find(messages, slot);
    if (keyed === null) return byId;
    return (keyed.config.sessionId | 0) === (sessionId | 0) ? keyed : undefined;
  }

  /** Returns true if the remote of the session's tunnel sent the message in the slot. */
  #isFromRemote(
    { overUdp }: LocalEndpoint,
    slot: number,
    { tunnel, counters }: PacketSession,
    now: number,
  ): boolean {
    const { messages } = this.#batch;
    if (messages.isFrom(slot, tunnel.remote, !overUdp)) return true;
    counters.rxSourceMismatch++;
    messages.copyName(slot, tunnel.unexpectedSource);
    tunnel.unexpectedSourceMs = now;
    return false;
  }

  /**
   * Processes the rest of a datagram, from the end of the session ID up to `end`.
   * @returns true: its frame was delivered without regard to a sequence number
   */
  #accept(session: PacketSession, slot: number, end: number, now: number): boolean {
    const { counters } = session;
    const header = this.#header;
    let status = decodeSessionHeader(this.#arena.view, end, session.rx, header);
    if (status !== DecodeStatus.Ok && session.previousRx !== null) {
      const other = decodeSessionHeader(this.#arena.view, end, session.previousRx, header);
      if (other === DecodeStatus.Ok) {
        counters.rxPreviousCookie++;
        status = other;
      }
    }
    if (status !== DecodeStatus.Ok) {
      counters.rxErrors++;
      if (status === DecodeStatus.BadCookie) counters.rxCookieDiscards++;
      else counters.rxInvalid++;
      return false;
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
      return false;
    }
    if (session.looksMisaligned(this.#arena.view, header.next, bytes, session.rx.sublayer)) {
      counters.rxSublayerSuspect++;
    }
    if (bytes > session.maxFrameBytes) {
      counters.rxOversize++;
      counters.rxErrors++;
      return false;
    }
    if (this.#carriesMark(session) && !this.#passMark(session, header.next, end)) return false;
    // The frame may grow up to the end of its slot.
    const limit = this.#batch.slots.at(slot) + FRAME_CAPACITY;
    if (session.isDirect) {
      this.#deliver(session, header.next, bytes, limit);
      return true;
    }
    if (header.sequence < 0) counters.rxSeqDiscards++;
    else this.#sequence(session, header.sequence, header.next, bytes, limit, now);
    return false;
  }

  /** True if the current message's ECN changes the session's frames in it. */
  #carriesMark({ tunnel }: PacketSession): boolean {
    return this.#ecn !== ECN.notCapable && tunnel.config.ecn === true;
  }

  /** Passes the current message's ECN on to a frame. @returns false: the frame must be dropped, and was counted */
  #passMark({ counters, isBare }: PacketSession, at: number, end: number): boolean {
    if (propagateEcn(this.#arena.view, at, end, isBare, this.#ecn)) return true;
    counters.rxCongestionDiscards++;
    counters.rxErrors++;
    return false;
  }

  /** Delivers a frame to the session's device, or forwards the frame to the session's partner. */
  #deliver(session: PacketSession, at: number, bytes: number, limit: number): void {
    const { partner, device } = session;
    if (partner === null || device !== null) this.#writer.deliver(session, at, bytes, limit);
    else this.#switcher.forward(session, partner, at, bytes);
  }

  #sequence(
    session: PacketSession,
    sequence: number,
    offset: number,
    bytes: number,
    limit: number,
    now: number,
  ): void {
    const order = session.order;
    if (order === null) return;
    const skippedBefore = order.skipped;
    let verdict = order.offer(sequence, now);
    while (verdict === ReorderVerdict.MakeRoom) {
      this.#deliverHeld(session, order.release());
      verdict = order.offer(sequence, now);
    }
    if (verdict === ReorderVerdict.Deliver) this.#deliver(session, offset, bytes, limit);
    else if (verdict === ReorderVerdict.Late) session.counters.rxSeqDiscards++;
    else this.#hold(session, order.slotOf(sequence), offset, bytes, limit);
    session.counters.rxOosPackets += order.skipped - skippedBefore;
    this.#drain(session, now);
  }

  #hold(
    session: PacketSession,
    orderSlot: number,
    offset: number,
    bytes: number,
    limit: number,
  ): void {
    this.#waiting.add(session);
    if (this.#freeHoldCount === 0) {
      return this.#deliverWithoutRoom(session, orderSlot, offset, bytes, limit);
    }
    this.#freeHoldCount--;
    const poolSlot = this.#freeHolds[this.#freeHoldCount] as number;
    session.held[orderSlot] = poolSlot;
    session.heldBytes[orderSlot] = bytes;
    // A pending frame may be in a slot that was released.
    this.#writer.flush();
    this.#arena.bytes.copyWithin(this.#holds.at(poolSlot), offset, offset + bytes);
  }

  /** The pool is full: delivers all held frames of the session, which frees slots, and skips the missing ones. */
  #deliverWithoutRoom(
    session: PacketSession,
    orderSlot: number,
    offset: number,
    bytes: number,
    limit: number,
  ): void {
    const order = session.order as ReceiveOrder;
    for (let slot = order.release(); slot >= 0; slot = order.release()) {
      if (slot === orderSlot) this.#deliver(session, offset, bytes, limit);
      else this.#deliverHeld(session, slot);
    }
  }

  #drain(session: PacketSession, now: number): void {
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

  #deliverHeld(session: PacketSession, orderSlot: number): void {
    // Flush first: a pending frame must not grow over datagrams that have not been read yet.
    this.#writer.flush();
    const poolSlot = session.held[orderSlot] as number;
    const at = this.#holds.at(poolSlot);
    this.#deliver(session, at, session.heldBytes[orderSlot] as number, at + FRAME_CAPACITY);
    this.#freeHolds[this.#freeHoldCount] = poolSlot;
    this.#freeHoldCount++;
  }
}
