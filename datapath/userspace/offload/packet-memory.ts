/** The memory that packets are in, and WebAssembly's functions over it. */
import { PACKETS_WASM } from "./packets.generated.ts";

/** With vector instructions; the *.wat have them, `make generate` assembles those. */
interface PacketFunctions {
  /** The unfolded sum of at most 128 KiB (checksum.wat). */
  sum(at: number, length: number): number;
  /** The same, and copies them; they may overlap where `to` is below `at`. */
  copySum(at: number, to: number, length: number): number;
  /** Writes segments as Segmenter plans them (segment.wat). */
  segment(plan: number, prefix: number, index: number, count: number, to: number): void;
  /** AcceptedGso frames to the one that Coalescer's state describes (coalesce.wat). */
  join(state: number, prefix: number, at: number, size: number, end: number): number;
}

export interface PacketMemory extends PacketFunctions {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Room for the caller alone, beside that for packets; for ever. */
  reserve(bytes: number): number;
}

/** Bytes of a page of WebAssembly's memory. */
const PAGE_BYTES = 65_536;
/** What all callers of `reserve` together may have. */
const RESERVED_BYTES = 8192;
/** Of a vector. */
const ALIGNMENT = 16;

/** Zeroed memory that never grows, and so never moves. It takes room when it is written to. */
export function createPacketMemory(size: number): PacketMemory {
  const pages = Math.ceil((size + RESERVED_BYTES) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { buffer } = memory;
  // Behind all packets, so that a vector that reaches over a packet's end is still inside.
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
