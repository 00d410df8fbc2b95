/** The control messages of a capture in readable lines; with the shared secret, checked and unhidden. */
import { digestKey, isSigned, NO_NONCES } from "../../l2tp/control/authentication.ts";
import {
  describeAttributes,
  describeFlaw,
  describeForeign,
  describeType,
} from "../../l2tp/control/describe.ts";
import { hidingKey } from "../../l2tp/control/hiding.ts";
import { type Decoded, decodeEither } from "../../l2tp/control/message.ts";
import { NO_OCTETS, type Octets } from "../../l2tp/control/octets.ts";
import { type ControlDatagram, dissect } from "./dissect.ts";
import { readCapture } from "./pcap.ts";

export interface DecodedDatagram {
  /** Seconds since 1970. */
  readonly seconds: number;
  readonly from: string;
  readonly to: string;
  readonly type: string;
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
  /** In words. */
  readonly attributes: readonly string[];
  /** What is wrong with it. */
  readonly flaws: readonly string[];
  /** Null: without a digest, or without a secret to check it with. */
  readonly isAuthentic: boolean | null;
}

/** @param secret null: digests are not checked, and hidden values not read @throws CaptureError */
export function* decodeCapture(
  file: Uint8Array<ArrayBuffer>,
  secret: Octets | null,
): Generator<DecodedDatagram> {
  const conversation = new Conversation(secret);
  for (const packet of readCapture(file)) {
    const datagram = dissect(packet);
    if (datagram !== null) yield conversation.decode(datagram);
  }
}

/** Remembers the nonces of who has introduced himself: digests are made with both ends'. */
class Conversation {
  /** Null: nothing is checked or read. */
  readonly #keys: { readonly digest: Octets; readonly hiding: { readonly key: Octets } } | null;
  readonly #nonces = new Map<string, Octets>();

  constructor(secret: Octets | null) {
    this.#keys =
      secret === null ? null : { digest: digestKey(secret), hiding: { key: hidingKey(secret) } };
  }

  decode({ seconds, from, to, hosts, octets }: ControlDatagram): DecodedDatagram {
    const message = decodeEither(octets, this.#keys?.hiding);
    const where = { seconds, from, to };
    if ("undecodable" in message) {
      const nothing = { connectionId: 0, ns: 0, nr: 0, attributes: [], isAuthentic: null };
      return { ...where, type: "?", ...nothing, flaws: [message.undecodable] };
    }
    if (message.type === "SCCRQ" || message.type === "SCCRP") {
      this.#nonces.set(hosts.join(" "), message.attributes.nonce ?? NO_OCTETS);
    }
    return {
      ...where,
      type: `${describeType(message)}${message.version === 2 ? " (L2TPv2)" : ""}`,
      ...message.header,
      attributes: [...describeAttributes(message), ...describeForeign(message)],
      flaws: message.flaws.map(describeFlaw),
      isAuthentic: this.#isAuthentic(message, octets, hosts),
    };
  }

  #isAuthentic(
    message: Decoded,
    octets: Octets,
    [from, to]: ControlDatagram["hosts"],
  ): boolean | null {
    if (this.#keys === null || message.digests.length === 0) return null;
    const nonces =
      message.type === "SCCRQ"
        ? NO_NONCES
        : {
            sender: this.#nonces.get(`${from} ${to}`) ?? NO_OCTETS,
            receiver: this.#nonces.get(`${to} ${from}`) ?? NO_OCTETS,
          };
    const own = octets.subarray(0, message.length);
    return isSigned(own, message.digests, [this.#keys.digest], nonces);
  }
}

/** "12:00:00.000123 192.0.2.1:1701 > 192.0.2.2:1701 SCCRQ id 0 Ns 0 Nr 0", and a line for each thing said. */
export function renderDatagram(datagram: DecodedDatagram): string {
  const { from, to, type, ns, nr, attributes, flaws, isAuthentic } = datagram;
  const signed = isAuthentic === null ? "" : isAuthentic ? ", authentic" : ", NOT AUTHENTIC";
  const head = `${time(datagram.seconds)} ${from} > ${to} ${type} to ${receiver(datagram)}, Ns ${ns}, Nr ${nr}${signed}`;
  return [head, ...attributes, ...flaws.map((flaw) => `! ${flaw}`)].join("\n    ");
}

function receiver({ type, connectionId }: DecodedDatagram): string {
  if (!type.endsWith("(L2TPv2)")) return `connection ${connectionId}`;
  return `tunnel ${connectionId >>> 16}, session ${connectionId & 0xffff}`;
}

/** What a Date holds. */
const MAX_SECONDS = 8.64e12;

function time(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole > MAX_SECONDS) return "?";
  const micros = Math.floor((seconds - whole) * 1e6);
  return `${new Date(whole * 1000).toISOString().slice(11, 19)}.${String(micros).padStart(6, "0")}`;
}
