/** Arithmetic on the 24-bit sequence numbers of the default L2-specific sublayer (RFC 3931 §4.6). */

export const SEQUENCE_MASK = 0xff_ffff;
const HALF = 0x80_0000;

export function nextSequence(sequence: number): number {
  return (sequence + 1) & SEQUENCE_MASK;
}

/** Steps forward from `from` to `to`: −2²³ to 2²³−1; negative where `to` lies behind. */
export function sequenceDistance(from: number, to: number): number {
  return ((to - from + HALF) & SEQUENCE_MASK) - HALF;
}
