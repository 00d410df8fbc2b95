/** Switches frames from socket to socket: replaces the header of one session by the header of the other. */
import { dataHeaderBytes, encodeDataHeader } from "../../../l2tp/codec.ts";
import { MAX_GROWTH_BYTES } from "../../../model/pseudowires/pseudowire.ts";
import type { Arena } from "./arena.ts";
import type { SendQueue } from "./send-queue.ts";
import type { PacketSession } from "./session.ts";
import { outerTrafficClass } from "./traffic-class.ts";

/** The payload of the largest UDP datagram over IPv6. An IPv4 socket rejects datagrams above its own, lower limit. */
const MAX_DATAGRAM_BYTES = 65_527;

export class Switcher {
  readonly #arena: Arena;
  readonly #queue: SendQueue;

  constructor(arena: Arena, queue: SendQueue) {
    this.#arena = arena;
    this.#queue = queue;
  }

  /**
   * Queues a received frame for the other session's peer. Frames are copied, so that successive frames are contiguous
   * and leave as one message, which the kernel segments.
   * @param at offset of the frame as received; up to 4 bytes in front of it are overwritten
   */
  forward(session: PacketSession, to: PacketSession, at: number, bytes: number): void {
    const { tx, rewriter, counters } = to;
    const end = at + bytes;
    const from =
      session.rewriter === null ? at : session.rewriter.fromWire(this.#arena, at, end, 1);
    if (from < 0) {
      session.counters.rxErrors++;
      return;
    }
    session.counters.rxPackets++;
    session.counters.rxBytes += bytes;
    const frameBytes = end - from;
    const headerBytes = dataHeaderBytes(tx);
    const growth = rewriter === null ? 0 : MAX_GROWTH_BYTES;
    // A session ID of 0 is not negotiated yet.
    if (tx.sessionId === 0 || headerBytes + growth + frameBytes > MAX_DATAGRAM_BYTES) {
      counters.txErrors++;
      return;
    }
    const slot = this.#queue.writeAt(headerBytes + growth + frameBytes) + headerBytes + growth;
    this.#arena.bytes.copyWithin(slot, from, end);
    const slotEnd = slot + frameBytes;
    const begin = rewriter === null ? slot : rewriter.toWire(this.#arena, slot, slotEnd);
    if (begin < 0) {
      counters.txErrors++;
      return;
    }
    encodeDataHeader(this.#arena.view, begin - headerBytes, tx);
    const wireBytes = slotEnd - begin;
    const trafficClass = outerTrafficClass(this.#arena.view, to, begin, slotEnd);
    this.#queue.add(to, begin - headerBytes, wireBytes + headerBytes, wireBytes, trafficClass);
  }

  /** Sends all that is queued. */
  flush(): void {
    this.#queue.flush();
  }
}

/**
 * Makes two sessions partners if each is switched to the other. Otherwise the session loses its partner.
 * @param other the session with the key `session.config.switchTo`; undefined: none exists
 */
export function joinSessions(session: PacketSession, other: PacketSession | undefined): void {
  const isPair = other !== session && other?.config.switchTo === session.config.key;
  const partner = isPair ? other : null;
  if (session.partner !== partner) separate(session);
  if (partner === null) return;
  if (partner.partner !== session) separate(partner);
  session.partner = partner;
  partner.partner = session;
}

/** Stops switching frames between the session and its partner. */
export function separate(session: PacketSession): void {
  const { partner } = session;
  if (partner?.partner === session) partner.partner = null;
  session.partner = null;
}
