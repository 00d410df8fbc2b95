/** Decodes the control messages of a capture. With the shared secret, checks digests and decodes hidden AVPs. */
import { Conversation, type MessageInWords } from "../../l2tp/control/conversation.ts";
import type { Octets } from "../../l2tp/control/octets.ts";
import { dissect } from "./dissect.ts";
import { readCapture } from "./pcap.ts";

/** A decoded control message with its time and addresses. */
export interface DecodedDatagram extends MessageInWords {
  /** Seconds since 1970. */
  readonly seconds: number;
  readonly from: string;
  readonly to: string;
}

/** @param secret null: digests are not checked, and hidden AVPs are not decoded @throws CaptureError */
export function* decodeCapture(
  file: Uint8Array<ArrayBuffer>,
  secret: Octets | null,
): Generator<DecodedDatagram> {
  const conversation = new Conversation(secret === null ? [] : [secret]);
  for (const packet of readCapture(file)) {
    const datagram = dissect(packet);
    if (datagram === null) continue;
    const { seconds, from, to, hosts, octets } = datagram;
    const message = conversation.decode(octets, hosts);
    yield { seconds, from, to, ...conversation.describe(message, octets, hosts) };
  }
}

/** Returns "12:00:00.000123 192.0.2.1:1701 > 192.0.2.2:1701 SCCRQ to connection 0, …", and a line for each AVP. */
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

/** The maximum of a Date. */
const MAX_SECONDS = 8.64e12;

/** Returns the time of day in UTC, "12:00:00.000123". @param seconds since 1970 */
export function time(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole > MAX_SECONDS) return "?";
  const micros = Math.floor((seconds - whole) * 1e6);
  return `${new Date(whole * 1000).toISOString().slice(11, 19)}.${String(micros).padStart(6, "0")}`;
}
