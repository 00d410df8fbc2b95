/** Octet strings, and hexadecimal digits. */

export type Octets = Uint8Array<ArrayBuffer>;

export const NO_OCTETS: Octets = new Uint8Array(0);

/** Returns a new array with the octets of all parts. */
export function concat(...parts: readonly Uint8Array[]): Octets {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Compares in constant time. */
export function sameOctets(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (const [at, octet] of one.entries()) difference |= octet ^ (other[at] as number);
  return difference === 0;
}

/** Returns two lower-case hexadecimal digits for each octet. */
export function toHex(octets: Uint8Array): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** @param digits an even number of hexadecimal digits */
export function fromHex(digits: string): Octets {
  const octets = new Uint8Array(digits.length / 2);
  for (const at of octets.keys())
    octets[at] = Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16);
  return octets;
}
