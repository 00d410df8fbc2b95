import { type Address, addressOfBuffer, allocate } from "./ffi.ts";

/** Memory at a fixed address, accessible from JavaScript and from the kernel. */
export interface Memory {
  readonly address: Address;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const CACHE_LINE = 64;

/** Allocates zeroed memory, aligned to a cache line, for the lifetime of the process. */
export function createMemory(size: number): Memory {
  if (!Number.isSafeInteger(size) || size <= 0) throw new RangeError(`memory of ${size} bytes`);
  const { address, buffer } = allocate(size + CACHE_LINE);
  const skip = (CACHE_LINE - (address % CACHE_LINE)) % CACHE_LINE;
  return {
    address: address + skip,
    bytes: new Uint8Array(buffer, skip, size),
    view: new DataView(buffer, skip, size),
  };
}

/** Returns the address of memory that V8 never moves: WebAssembly memory of fixed size. */
export function pinnedAddress(bytes: Uint8Array): Address {
  return addressOfBuffer(bytes);
}

/** Returns the address of `offset`. @throws RangeError if the `length` bytes from there are not in the memory */
export function addressOf(memory: Memory, offset: number, length: number): Address {
  if (offset < 0 || length < 0 || offset + length > memory.bytes.length) {
    throw new RangeError(`${length} bytes at ${offset} of ${memory.bytes.length}`);
  }
  return memory.address + offset;
}

/** Stores a pointer or size_t for the kernel (LP64, little-endian). */
export function setWord64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}
