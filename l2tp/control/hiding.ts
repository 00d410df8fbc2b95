/** Values of AVPs that only who has the shared secret can read (RFC 3931, 5.3). */
import { hmac, md5 } from "./hashes.ts";
import { concat, type Octets } from "./octets.ts";
import { UINT16 } from "./value-formats.ts";

const BLOCK_BYTES = 16;
const LENGTH_BYTES = 2;

/** The key for hiding that a shared secret gives. */
export function hidingKey(secret: Uint8Array): Octets {
  return hmac("md5", secret, Uint8Array.of(1));
}

export interface Hiding {
  readonly key: Octets;
  /** Of the last Random Vector AVP in front of the hidden one. */
  readonly vector: Uint8Array;
}

/** @param padding hides how long the value is */
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

/** undefined: the length inside cannot be; the key is another one, or it was garbled. */
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
