/** Whose messages of a connection are, and what of them only the two ends can read (RFC 3931, 4.3 and 5.3). */
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
/** The first two secrets count. */
const MAX_SECRETS = 2;

export interface SecuritySettings {
  /** None: without authentication. A second is for a change of the secret: either is taken. */
  readonly secrets: readonly Octets[];
  readonly digest: DigestHash;
  /** Whether values that may be hidden are; only with a secret. */
  readonly hidesValues: boolean;
}

export class MessageSecurity {
  /** Ours, once we have introduced ourselves. */
  nonce: Octets = NO_OCTETS;
  peerNonce: Octets = NO_OCTETS;
  /** What hidden values are read with; null: none can be. */
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

  /** A nonce of ours, for what we introduce ourselves with. */
  drawNonce(): Octets {
    this.nonce = this.#random(NONCE_OCTETS);
    return this.nonce;
  }

  /** Nothing is hidden from who has not said that it authenticates. */
  encode(body: Body): EncodedBody {
    if (!this.#settings.hidesValues || this.hiding === null || body.type === "SCCRQ") {
      return encodeBody(body);
    }
    const padding = this.#random((this.#random(1)[0] ?? 0) % (MAX_PADDING_OCTETS + 1));
    return encodeBody(body, { ...this.hiding, vector: this.#random(VECTOR_OCTETS), padding });
  }

  /** The message in octets, signed with all secrets that there are. */
  seal(header: Header, body: EncodedBody): Octets {
    const digests = this.#digestKeys.map(() => this.#settings.digest);
    const { octets, digests: places } = encodeMessage(header, body, digests);
    const nonces =
      body.type === "SCCRQ" ? NO_NONCES : { sender: this.nonce, receiver: this.peerNonce };
    sign(octets, places, this.#digestKeys, nonces);
    return octets;
  }

  /** Whether a message is by who shares our secret; without one: whether it is as it was sent. */
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
