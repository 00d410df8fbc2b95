/** Message digests (RFC 3931, 4.3 and 5.4.1), which authenticate messages by the shared secret. */
import { type DigestHash, hmac } from "./hashes.ts";
import { concat, NO_OCTETS, type Octets, sameOctets } from "./octets.ts";

/** Digest types by their hash. */
export const DIGEST_TYPES: Readonly<Record<DigestHash, number>> = { md5: 0, sha1: 1 };
export const DIGEST_BYTES: Readonly<Record<DigestHash, number>> = { md5: 16, sha1: 20 };

/** Returns the hash of a Message Digest AVP's type octet (RFC 3931, 5.4.1); undefined: the type is unknown. */
export function digestHashOf(type: number): DigestHash | undefined {
  return type === DIGEST_TYPES.md5 ? "md5" : type === DIGEST_TYPES.sha1 ? "sha1" : undefined;
}

/** A digest in a message: its hash, and its offset. */
export interface DigestPlace {
  readonly hash: DigestHash;
  readonly at: number;
}

/** Returns the key for digests, derived from the shared secret. */
export function digestKey(secret: Uint8Array): Octets {
  return hmac("md5", secret, Uint8Array.of(2));
}

/** Nonces of a control connection, the sender's first. None in an SCCRQ. */
export interface Nonces {
  readonly sender: Octets;
  readonly receiver: Octets;
}

export const NO_NONCES: Nonces = { sender: NO_OCTETS, receiver: NO_OCTETS };

/** Writes the digests of a message into their places, which hold zeros. @param keys one per place */
export function sign(
  message: Octets,
  places: readonly DigestPlace[],
  keys: readonly Octets[],
  nonces: Nonces,
): void {
  const signed = concat(nonces.sender, nonces.receiver, message);
  for (const [index, { hash, at }] of places.entries()) {
    message.set(hmac(hash, keys[index] as Octets, signed), at);
  }
}

/** True if one of the digests is valid for one of the keys. */
export function isSigned(
  message: Octets,
  places: readonly DigestPlace[],
  keys: readonly Octets[],
  nonces: Nonces,
): boolean {
  const blank = Uint8Array.from(message);
  for (const { hash, at } of places) blank.fill(0, at, at + DIGEST_BYTES[hash]);
  const signed = concat(nonces.sender, nonces.receiver, blank);
  return places.some(({ hash, at }) => {
    const digest = message.subarray(at, at + DIGEST_BYTES[hash]);
    return keys.some((key) => sameOctets(digest, hmac(hash, key, signed)));
  });
}
