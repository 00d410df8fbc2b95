/**
 * The memory of the packet path: one block for all frames, laid out at start. Nothing is allocated after that.
 *
 * A frame starts at an address of 2 modulo 4, so that the IP header after its 14-byte Ethernet header is aligned. The
 * headroom in front has room for the L2TP header and the bytes that a pseudowire type adds, or for a virtio_net_hdr.
 */
import { MAX_HEADER_BYTES } from "../../../l2tp/codec.ts";
import { type Memory, pinnedAddress } from "../../../linux/memory.ts";
import { MAX_GROWTH_BYTES } from "../../../model/pseudowires/pseudowire.ts";
import { createPacketMemory, type PacketMemory } from "../offload/packet-memory.ts";
import { VNET_HEADER_BYTES } from "../offload/vnet-header.ts";

export interface Arena extends Memory, PacketMemory {}

/** @param size in bytes; pages occupy RAM once they are written */
export function createArena(size: number): Arena {
  const memory = createPacketMemory(size);
  return { ...memory, address: pinnedAddress(memory.bytes) };
}

/** Free bytes in front of a frame. */
export const HEADROOM_BYTES = 66;
/** The largest frame or datagram: the maximum IP length, and an Ethernet header with tags. */
export const FRAME_CAPACITY = 65_536 + 22;
/** Not a power of two, so that the slots' first bytes are in different cache sets. */
const SLOT_BYTES = 65_536 + 256;

if (HEADROOM_BYTES % 4 !== 2) throw new RangeError("HEADROOM_BYTES");
if (HEADROOM_BYTES < Math.max(MAX_HEADER_BYTES + MAX_GROWTH_BYTES, VNET_HEADER_BYTES))
  throw new RangeError("headroom");
if (SLOT_BYTES < HEADROOM_BYTES + FRAME_CAPACITY) throw new RangeError("SLOT_BYTES");

/** Adjacent slots for frames. */
export class FrameSlots {
  readonly #base: number;

  /** @param base a multiple of 4 */
  constructor(base: number) {
    this.#base = base;
  }

  static bytes(count: number): number {
    return count * SLOT_BYTES;
  }

  /** Returns the address of the slot's frame. */
  at(slot: number): number {
    return this.#base + slot * SLOT_BYTES + HEADROOM_BYTES;
  }
}
