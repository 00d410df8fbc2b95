/** Authentication and hiding of a connection's messages (RFC 3931, 4.3 and 5.3). */
import { digestKey, isSigned, NO_NONCES, type Nonces, sign } from "./authentication.ts";
import type { DigestHash } from "./hashes.ts";
import { type Hiding, hidingKey } from "./hiding.ts";
import {
  type Body,
  type Decoded,
  type EncodedBody,
  encodeBody,
  encodeMessage,
  type Header,
} from "./message.ts";
import { NO_OCTETS, type Octets } from "./octets.ts";

const NONCE_OCTETS = 16;
const VECTOR_OCTETS = 16;
const MAX_PADDING_OCTETS = 15;
/** Only the first two secrets are used. */
const MAX_SECRETS = 2;

export interface SecuritySettings {
  /** Shared secrets; empty: no authentication. During a rotation, messages with either of two are accepted. */
  readonly secrets: readonly Octets[];
  readonly digest: DigestHash;
  /** True if values that can be hidden are hidden; requires a secret. */
  readonly hidesValues: boolean;
}

export class MessageSecurity {
  /** Our nonce, once we have sent an SCCRQ or SCCRP. */
  nonce: Octets = NO_OCTETS;
  peerNonce: Octets = NO_OCTETS;
  /** The key for hidden values; null: they cannot be read. */
  readonly hiding: Omit<Hiding, "vector"> | null;
  readonly #settings: SecuritySettings;
  readonly #digestKeys: readonly Octets[];
  readonly #random: (count: number) => Octets;

  constructor(settings: SecuritySettings, random: (count: number) => Octets) {
    this.#settings = settings;
    this.#random = random;
    const secrets = settings.secrets.slice(0, MAX_SECRETS);
    this.#digestKeys = secrets.map(digestKey);
    const [first] = secrets;
    this.hiding = first === undefined ? null : { key: hidingKey(first) };
  }

  get authenticates(): boolean {
    return this.#digestKeys.length > 0;
  }

  /** Returns a new nonce for our SCCRQ or SCCRP. */
  drawNonce(): Octets {
    this.nonce = this.#random(NONCE_OCTETS);
    return this.nonce;
  }

  /** Encodes a body. An SCCRQ hides nothing, because the peer may not authenticate. */
  encode(body: Body): EncodedBody {
    if (!this.#settings.hidesValues || this.hiding === null || body.type === "SCCRQ") {
      return encodeBody(body);
    }
    const padding = this.#random((this.#random(1)[0] ?? 0) % (MAX_PADDING_OCTETS + 1));
    return encodeBody(body, { ...this.hiding, vector: this.#random(VECTOR_OCTETS), padding });
  }

  /** Returns the message in octets, signed with all secrets. */
  seal(header: Header, body: EncodedBody): Octets {
    const digests = this.#digestKeys.map(() => this.#settings.digest);
    const { octets, digests: places } = encodeMessage(header, body, digests);
    const nonces =
      body.type === "SCCRQ" ? NO_NONCES : { sender: this.nonce, receiver: this.peerNonce };
    sign(octets, places, this.#digestKeys, nonces);
    return octets;
  }

  /** True if the message has a valid digest of a shared secret; without a secret: if it is intact. */
  isAuthentic(octets: Octets, { digests, type, attributes }: Decoded): boolean {
    if (!this.authenticates) {
      return digests.length === 0 || isSigned(octets, digests, [NO_OCTETS], NO_NONCES);
    }
    if (digests.length === 0) return false;
    const nonces: Nonces =
      type === "SCCRQ"
        ? NO_NONCES
        : {
            sender: type === "SCCRP" ? (attributes.nonce ?? NO_OCTETS) : this.peerNonce,
            receiver: this.nonce,
          };
    return isSigned(octets, digests, this.#digestKeys, nonces);
  }
}
