/** The memory that packets are in, as the offloads work on it. */
import { createSummer, type Summer } from "./checksum.ts";

export interface PacketMemory extends Summer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Bytes of a page of WebAssembly's memory. */
const PAGE_BYTES = 65_536;

/** Zeroed memory that never grows, and so never moves. It takes room when it is written to. */
export function createPacketMemory(size: number): PacketMemory {
  const pages = Math.ceil(size / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return {
    bytes: new Uint8Array(memory.buffer),
    view: new DataView(memory.buffer),
    ...createSummer(memory),
  };
}
