/** Hash functions for authentication and hiding. */
import { createHash, createHmac } from "node:crypto";
import type { Octets } from "./octets.ts";

export type DigestHash = "md5" | "sha1";

/** RFC 1321. */
export function md5(octets: Uint8Array): Octets {
  return Uint8Array.from(createHash("md5").update(octets).digest());
}

/** RFC 2104. */
export function hmac(hash: DigestHash, key: Uint8Array, octets: Uint8Array): Octets {
  return Uint8Array.from(createHmac(hash, key).update(octets).digest());
}
