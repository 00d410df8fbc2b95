/** What control messages are authenticated and hidden with: given from outside, for this folder does no input or output. */
import type { Octets } from "./octets.ts";

export interface Hashes {
  /** RFC 1321. */
  md5(octets: Uint8Array): Octets;
  /** RFC 2104. */
  hmac(hash: DigestHash, key: Uint8Array, octets: Uint8Array): Octets;
}

export type DigestHash = "md5" | "sha1";
