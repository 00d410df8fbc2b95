/** Hiding of AVP values with the shared secret (RFC 3931, 5.3). */
import { hmac, md5 } from "./hashes.ts";
import { concat, type Octets } from "./octets.ts";
import { UINT16 } from "./value-formats.ts";

const BLOCK_BYTES = 16;
const LENGTH_BYTES = 2;

/** Returns the key for hiding, derived from the shared secret. */
export function hidingKey(secret: Uint8Array): Octets {
  return hmac("md5", secret, Uint8Array.of(1));
}

export interface Hiding {
  readonly key: Octets;
  /** Value of the last Random Vector AVP before the hidden AVP. */
  readonly vector: Uint8Array;
}

/** Returns the hidden value. @param padding hides the length of the value */
export function hide(
  { key, vector }: Hiding,
  type: number,
  value: Octets,
  padding: Uint8Array,
): Octets {
  const octets = concat(UINT16.encode(value.length), value, padding);
  let mask = md5(concat(UINT16.encode(type), key, vector));
  for (let at = 0; at < octets.length; at += BLOCK_BYTES) {
    const block = octets.subarray(at, at + BLOCK_BYTES);
    applyMask(block, mask);
    mask = md5(concat(key, block));
  }
  return octets;
}

/** Returns the value; undefined: its length is invalid, because the key is wrong or the value is corrupt. */
export function unhide({ key, vector }: Hiding, type: number, hidden: Octets): Octets | undefined {
  const octets = Uint8Array.from(hidden);
  let mask = md5(concat(UINT16.encode(type), key, vector));
  for (let at = 0; at < octets.length; at += BLOCK_BYTES) {
    applyMask(octets.subarray(at, at + BLOCK_BYTES), mask);
    mask = md5(concat(key, hidden.subarray(at, at + BLOCK_BYTES)));
  }
  const length = UINT16.decode(octets.subarray(0, LENGTH_BYTES));
  if (length === undefined || LENGTH_BYTES + length > octets.length) return undefined;
  return octets.slice(LENGTH_BYTES, LENGTH_BYTES + length);
}

function applyMask(block: Octets, mask: Octets): void {
  for (const at of block.keys()) block[at] = (block[at] as number) ^ (mask[at] as number);
}
