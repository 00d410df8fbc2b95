/**
 * The memory of the packet path: one piece for all frames, laid out once at start. Nothing is allocated
 * after that.
 *
 * A frame starts on 2 modulo 4, so that the IP header behind its 14-byte Ethernet header is aligned. In
 * front of it there is room for the L2TP header and what a pseudowire type puts behind that, or for a
 * virtio_net_hdr.
 */
import { MAX_HEADER_BYTES } from "../../../l2tp/codec.ts";
import { type Memory, pinnedAddress } from "../../../linux/memory.ts";
import { MAX_GROWTH_BYTES } from "../../../model/pseudowires/pseudowire.ts";
import { createPacketMemory, type PacketMemory } from "../offload/packet-memory.ts";
import { VNET_HEADER_BYTES } from "../offload/vnet-header.ts";

export interface Arena extends Memory, PacketMemory {}

/** @param size in bytes; it takes room when it is written to */
export function createArena(size: number): Arena {
  const memory = createPacketMemory(size);
  return { ...memory, address: pinnedAddress(memory.bytes) };
}

/** In front of a frame. */
export const HEADROOM_BYTES = 66;
/** The largest frame or datagram: what 16 bits of IP length allow, and an Ethernet header with tags. */
export const FRAME_CAPACITY = 65_536 + 22;
/** Not a power of two, so that the heads of the slots spread over the sets of the cache. */
const SLOT_BYTES = 65_536 + 256;

if (HEADROOM_BYTES % 4 !== 2) throw new RangeError("HEADROOM_BYTES");
if (HEADROOM_BYTES < Math.max(MAX_HEADER_BYTES + MAX_GROWTH_BYTES, VNET_HEADER_BYTES))
  throw new RangeError("headroom");
if (SLOT_BYTES < HEADROOM_BYTES + FRAME_CAPACITY) throw new RangeError("SLOT_BYTES");

/** Places for frames, one behind the other. */
export class FrameSlots {
  readonly #base: number;

  /** @param base a multiple of 4 */
  constructor(base: number) {
    this.#base = base;
  }

  static bytes(count: number): number {
    return count * SLOT_BYTES;
  }

  /** Where the frame of the slot begins. */
  at(slot: number): number {
    return this.#base + slot * SLOT_BYTES + HEADROOM_BYTES;
  }
}
