/**
 * Internet checksums (RFC 1071) over shared memory. Sums are of little-endian words, as the machine loads them: the sum
 * of swapped words is the swapped sum, so only values that are not read from a packet must be swapped.
 */

/** Adds the carries of a sum until it is a 16-bit word. The result is 0 only for a sum of 0. */
export function fold(sum: number): number {
  let word = sum >>> 0;
  while (word > 0xffff) word = (word & 0xffff) + (word >>> 16);
  return word;
}

/** Returns a 16-bit number as a word of the sums: big-endian on the wire. */
export function wordOf(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}
