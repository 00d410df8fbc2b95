/** Describes the control messages between two hosts, with digests checked and hidden values decoded. */
import { digestKey, isSigned, NO_NONCES } from "./authentication.ts";
import { describeAttributes, describeFlaw, describeForeign, describeType } from "./describe.ts";
import { hidingKey } from "./hiding.ts";
import { type Decoded, decodeEither, type Undecodable } from "./message.ts";
import { NO_OCTETS, type Octets } from "./octets.ts";

/** Addresses of sender and receiver, without ports. */
export type Hosts = readonly [from: string, to: string];

export interface MessageInWords {
  /** "ICRQ", "SCCRQ (L2TPv2)"; "?": it cannot be decoded. */
  readonly type: string;
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
  readonly attributes: readonly string[];
  /** The faults of the message, as text. */
  readonly flaws: readonly string[];
  /** Null: no digest, or it cannot be checked without a secret and both nonces. */
  readonly isAuthentic: boolean | null;
}

interface Keys {
  readonly digest: Octets;
  readonly hiding: { readonly key: Octets };
}

/** Remembers the nonces of both ends, from which digests are computed. */
export class Conversation {
  readonly #keys: readonly Keys[];
  readonly #leavesOutSecrets: boolean;
  readonly #nonces = new Map<string, Octets>();

  /**
   * @param secrets candidates for the shared secret; empty: digests are not checked, and hidden values not decoded
   * @param leavesOutSecrets true: shows only the length of cookies and other secrets
   */
  constructor(secrets: readonly Octets[], leavesOutSecrets = false) {
    this.#keys = secrets.map((secret) => ({
      digest: digestKey(secret),
      hiding: { key: hidingKey(secret) },
    }));
    this.#leavesOutSecrets = leavesOutSecrets;
  }

  /** Decodes the message with the matching secret. */
  decode(octets: Octets, hosts: Hosts): Decoded | Undecodable {
    let message = decodeEither(octets, this.#keys[0]?.hiding);
    for (const { hiding } of this.#keys.slice(1)) {
      if ("undecodable" in message || !message.flaws.some(({ what }) => what === "malformed"))
        break;
      message = decodeEither(octets, hiding);
    }
    if ("undecodable" in message) return message;
    if (message.type === "SCCRQ" || message.type === "SCCRP") {
      this.#nonces.set(hosts.join(" "), message.attributes.nonce ?? NO_OCTETS);
    }
    return message;
  }

  /** @param message the result of `decode` for these octets */
  describe(message: Decoded | Undecodable, octets: Octets, hosts: Hosts): MessageInWords {
    if ("undecodable" in message) {
      const nothing = { connectionId: 0, ns: 0, nr: 0, attributes: [], isAuthentic: null };
      return { type: "?", ...nothing, flaws: [message.undecodable] };
    }
    const leavesOut = this.#leavesOutSecrets;
    return {
      type: `${describeType(message)}${message.version === 2 ? " (L2TPv2)" : ""}`,
      ...message.header,
      attributes: [
        ...describeAttributes(message, leavesOut),
        ...describeForeign(message, leavesOut),
      ],
      flaws: message.flaws.map(describeFlaw),
      isAuthentic: this.#isAuthentic(message, octets, hosts),
    };
  }

  #isAuthentic(message: Decoded, octets: Octets, hosts: Hosts): boolean | null {
    if (this.#keys.length === 0 || message.digests.length === 0) return null;
    const nonces = message.type === "SCCRQ" ? NO_NONCES : this.#noncesOf(hosts);
    if (nonces === null) return null;
    const own = octets.subarray(0, message.length);
    const keys = this.#keys.map(({ digest }) => digest);
    return isSigned(own, message.digests, keys, nonces);
  }

  /** Returns the nonces; null: the sender's nonce was not captured. */
  #noncesOf([from, to]: Hosts) {
    const sender = this.#nonces.get(`${from} ${to}`);
    const receiver = this.#nonces.get(`${to} ${from}`);
    return sender === undefined || receiver === undefined ? null : { sender, receiver };
  }
}
