/** The memory for packets, and the WebAssembly functions that work on it. */
import { PACKETS_WASM } from "./packets.generated.ts";

/** Functions with vector instructions. `make generate` assembles them from the *.wat files. */
interface PacketFunctions {
  /** Returns the unfolded sum of at most 128 KiB (checksum.wat). */
  sum(at: number, length: number): number;
  /** Sums and copies the bytes. They may overlap if `to` is below `at`. */
  copySum(at: number, to: number, length: number): number;
  /** Writes segments as Segmenter plans them (segment.wat). */
  segment(plan: number, prefix: number, index: number, count: number, to: number): void;
  /** Joins frames to the one that Coalescer's state describes (coalesce.wat). */
  join(state: number, prefix: number, at: number, size: number, end: number): number;
}

export interface PacketMemory extends PacketFunctions {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Reserves memory for the caller, outside of that for packets, forever. */
  reserve(bytes: number): number;
}

/** Bytes of a page of WebAssembly memory. */
const PAGE_BYTES = 65_536;
/** The maximum for all calls of `reserve` together. */
const RESERVED_BYTES = 8192;
/** Bytes of a vector. */
const ALIGNMENT = 16;

/** Creates zeroed memory that never grows, and so never moves. Pages occupy RAM once they are written. */
export function createPacketMemory(size: number): PacketMemory {
  const pages = Math.ceil((size + RESERVED_BYTES) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { buffer } = memory;
  // After all packets, so that a vector that extends past a packet's end is still in memory.
  let reserved = buffer.byteLength - RESERVED_BYTES;
  return {
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    reserve(bytes) {
      const at = reserved;
      reserved += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
      if (reserved > buffer.byteLength) throw new RangeError("RESERVED_BYTES");
      return at;
    },
    ...instantiate(memory),
  };
}

function instantiate(memory: WebAssembly.Memory): PacketFunctions {
  const module = new WebAssembly.Module(Buffer.from(PACKETS_WASM, "base64"));
  const { exports } = new WebAssembly.Instance(module, { packets: { memory } });
  return exports as unknown as PacketFunctions;
}
