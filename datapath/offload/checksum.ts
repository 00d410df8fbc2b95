/**
 * Internet checksums (RFC 1071) over shared memory. Sums are of little-endian words, as the machine has them:
 * the sum of swapped words is the swapped sum, so only what is not read from a packet has to be swapped.
 */
import { CHECKSUM_WASM } from "./checksum.generated.ts";

/** With vector instructions, over the memory that packets are in; of at most 128 KiB. */
export interface Summer {
  /** The unfolded sum of the bytes. */
  sum(at: number, length: number): number;
  /** The same, and copies them; they may overlap where `to` is below `at`. */
  copySum(at: number, to: number, length: number): number;
}

export function createSummer(memory: WebAssembly.Memory): Summer {
  const module = new WebAssembly.Module(Buffer.from(CHECKSUM_WASM, "base64"));
  const { exports } = new WebAssembly.Instance(module, { arena: { memory } });
  return exports as unknown as Summer;
}

/** The carries of a sum added back, until it is a word (never 0 but for a sum of 0). */
export function fold(sum: number): number {
  let word = sum >>> 0;
  while (word > 0xffff) word = (word & 0xffff) + (word >>> 16);
  return word;
}

/** A number as a word of the sums: big-endian on the wire. */
export function wordOf(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}
