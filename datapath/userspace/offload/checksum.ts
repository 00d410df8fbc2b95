/**
 * Internet checksums (RFC 1071) over shared memory. Sums are of little-endian words, as the machine has them:
 * the sum of swapped words is the swapped sum, so only what is not read from a packet has to be swapped.
 */

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
