/** From sockets to sessions: whose datagram it is, whether it may be, and in which order its frame is due. */
import {
  createHeaderOut,
  DecodeStatus,
  decodeSessionHeader,
  decodeSessionId,
} from "../../../l2tp/codec.ts";
import { type ReceiveOrder, ReorderVerdict } from "../../../l2tp/reorder.ts";
import { SOCKADDR_BYTES } from "../../../linux/socket.ts";
import { IPV4_HEADER_BYTES } from "../../../net/headers.ts";
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
  readonly #holds: FrameSlots;
  readonly #writer: FrameWriter;
  readonly #control: ControlReceiver;
  /** The struct sockaddr of a control message's sender. */
  readonly #sender = new Uint8Array(SOCKADDR_BYTES);
  readonly #header = createHeaderOut();
  /** Counts batches; wraps around. */
  #turn = 0;
  /** Sessions that the batch at hand had frames for. */
  #heard = 0;
  /** A stack of the free slots of the hold pool. */
  readonly #freeHolds = Int32Array.from({ length: HOLD_POOL_SLOTS }, (_, slot) => slot);
  #freeHoldCount = HOLD_POOL_SLOTS;
  readonly #waiting = new Set<PacketSession>();

  /** What it takes of the arena. */
  static readonly BYTES = ReceiveBatch.BYTES + FrameSlots.bytes(HOLD_POOL_SLOTS);

  /** @param base of Receiver.BYTES in the arena */
  constructor(arena: Arena, base: number, writer: FrameWriter, control: ControlReceiver) {
    this.#arena = arena;
    this.#control = control;
    this.#batch = new ReceiveBatch(arena, base);
    this.#holds = new FrameSlots(base + ReceiveBatch.BYTES);
    this.#writer = writer;
  }

  /** Takes at most a batch of the messages that wait at the endpoint, and no more than its share. */
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

  /** @returns what the message in the slot costs, but for the frames that are written */
  #take(endpoint: LocalEndpoint, slot: number, now: number): number {
    const { messages, slots } = this.#batch;
    const length = messages.receivedBytes(slot);
    const segment = messages.receivedSegment(slot);
    const at = slots.at(slot);
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

  /** Delivers held frames that have waited long enough. */
  expire(now: number): void {
    for (const session of this.#waiting) this.#drain(session, now);
    this.#writer.flush();
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
  release(session: PacketSession): void {
    const { order, counters } = session;
    if (order === null) return;
    const skippedBefore = order.skipped;
    while (order.held > 0) this.#deliverHeld(session, order.release());
    this.#writer.flush();
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
    // The tunnel that the message is known to have come from.
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
      // Those with the same header would be found just as right.
      const headerBytes = this.#header.next - headerFrom;
      const more = this.#writer.deliverMany(session, headerBytes, from, size, messageEnd);
      endpoint.counters.rxPackets += more;
      if (counters.rxPreviousCookie !== previousBefore) counters.rxPreviousCookie += more;
      from += more * size;
    }
  }

  /**
   * The session that one datagram of the message in the slot is for, by its session id; leaves the header up to there
   * in `#header`.
   * @returns null: it is for none, and has been counted
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

  /** At a socket with keyed tunnels: an ID of theirs may be a session's of another tunnel, too. */
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

  /** Whether the message in the slot came from the remote of the session's tunnel. */
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
   * Takes the rest of a datagram, from where the session id ended up to `end`.
   * @returns true: its frame was delivered, and its sequence number does not count
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
    // Until where the frame may grow: the end of its slot.
    const limit = this.#batch.slots.at(slot) + FRAME_CAPACITY;
    if (session.isDirect) {
      this.#writer.deliver(session, header.next, bytes, limit);
      return true;
    }
    if (header.sequence < 0) counters.rxSeqDiscards++;
    else this.#sequence(session, header.sequence, header.next, bytes, limit, now);
    return false;
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
    if (verdict === ReorderVerdict.Deliver) this.#writer.deliver(session, offset, bytes, limit);
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
    // What is pending may lie in a slot that has been given back.
    this.#writer.flush();
    this.#arena.bytes.copyWithin(this.#holds.at(poolSlot), offset, offset + bytes);
  }

  /** No room to wait in: the session gives up what it waits for, and so gives room to others. */
  #deliverWithoutRoom(
    session: PacketSession,
    orderSlot: number,
    offset: number,
    bytes: number,
    limit: number,
  ): void {
    const order = session.order as ReceiveOrder;
    for (let slot = order.release(); slot >= 0; slot = order.release()) {
      if (slot === orderSlot) this.#writer.deliver(session, offset, bytes, limit);
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
    // It comes out of turn: behind what is pending there may be datagrams that nobody has read yet.
    this.#writer.flush();
    const poolSlot = session.held[orderSlot] as number;
    const at = this.#holds.at(poolSlot);
    this.#writer.deliver(session, at, session.heldBytes[orderSlot] as number, at + FRAME_CAPACITY);
    this.#freeHolds[this.#freeHoldCount] = poolSlot;
    this.#freeHoldCount++;
  }
}
