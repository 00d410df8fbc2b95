/** The control messages between two hosts in words, for people: with the shared secret checked, and unhidden. */
import { digestKey, isSigned, NO_NONCES } from "./authentication.ts";
import { describeAttributes, describeFlaw, describeForeign, describeType } from "./describe.ts";
import { hidingKey } from "./hiding.ts";
import { type Decoded, decodeEither, type Undecodable } from "./message.ts";
import { NO_OCTETS, type Octets } from "./octets.ts";

/** Without ports: of whom a message came from, and of whom it is for. */
export type Hosts = readonly [from: string, to: string];

export interface MessageInWords {
  /** "ICRQ", "SCCRQ (L2TPv2)"; "?": it cannot be decoded. */
  readonly type: string;
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
  readonly attributes: readonly string[];
  /** The faults of the message, in words. */
  readonly flaws: readonly string[];
  /** Null: without a digest, or without what it would be checked by: a secret, and both ends' nonces. */
  readonly isAuthentic: boolean | null;
}

interface Keys {
  readonly digest: Octets;
  readonly hiding: { readonly key: Octets };
}

/** Remembers the nonces of who has introduced himself: digests are made with both ends'. */
export class Conversation {
  readonly #keys: readonly Keys[];
  readonly #leavesOutSecrets: boolean;
  readonly #nonces = new Map<string, Octets>();

  /**
   * @param secrets none: nothing is checked, and hidden values are not read; of several any may be the right one
   * @param leavesOutSecrets says how long cookies and the like are, and not what they are
   */
  constructor(secrets: readonly Octets[], leavesOutSecrets = false) {
    this.#keys = secrets.map((secret) => ({
      digest: digestKey(secret),
      hiding: { key: hidingKey(secret) },
    }));
    this.#leavesOutSecrets = leavesOutSecrets;
  }

  /** The message as its receiver reads it, with the right one of the secrets. */
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

  /** @param message as `decode` has returned it for these octets */
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

  /** Null: who speaks has been heard of too late. */
  #noncesOf([from, to]: Hosts) {
    const sender = this.#nonces.get(`${from} ${to}`);
    const receiver = this.#nonces.get(`${to} ${from}`);
    return sender === undefined || receiver === undefined ? null : { sender, receiver };
  }
}
