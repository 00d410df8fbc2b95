/** From socket to socket: a frame loses the header of the session that it came by, and gets that of the other. */
import { dataHeaderBytes, encodeDataHeader } from "../../../l2tp/codec.ts";
import { MAX_GROWTH_BYTES } from "../../../model/pseudowires/pseudowire.ts";
import type { Arena } from "./arena.ts";
import type { SendQueue } from "./send-queue.ts";
import type { PacketSession } from "./session.ts";
import { outerTrafficClass } from "./traffic-class.ts";

/** The payload of the largest UDP datagram over IPv6; a socket of IPv4 refuses the few bytes that it cannot hold. */
const MAX_DATAGRAM_BYTES = 65_527;

export class Switcher {
  readonly #arena: Arena;
  readonly #queue: SendQueue;

  constructor(arena: Arena, queue: SendQueue) {
    this.#arena = arena;
    this.#queue = queue;
  }

  /**
   * Queues a received frame for the other session's peer. The frame is copied: several that follow each other lie
   * contiguously, and leave as one message that the kernel cuts.
   * @param at where the frame begins on the wire; up to 4 bytes in front are written over
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
    // Without a session ID the ends have not agreed.
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
 * Joins the session with the one that it is switched to, if that one is switched to it.
 * @param other the session of the key `session.config.switchTo`; undefined: none exists
 */
export function joinSessions(session: PacketSession, other: PacketSession | undefined): void {
  const isPair = other !== session && other?.config.switchTo === session.config.key;
  const partner = isPair ? other : null;
  if (session.partner !== partner) part(session);
  if (partner === null) return;
  if (partner.partner !== session) part(partner);
  session.partner = partner;
  partner.partner = session;
}

/** The session's frames go to no other session. */
export function part(session: PacketSession): void {
  const { partner } = session;
  if (partner?.partner === session) partner.partner = null;
  session.partner = null;
}
