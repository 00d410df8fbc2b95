/** Reads captured control messages. Pure. */
import { Conversation, type Hosts } from "../../../l2tp/control/conversation.ts";
import type { Decoded, Undecodable } from "../../../l2tp/control/message.ts";
import { isOfSession } from "../../../l2tp/control/message-type.ts";
import type { CapturedIpPacket } from "../../../linux/packet-capture.ts";
import type { Session } from "../../../model/model.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";
import type { TracedMessage } from "../../trace-protocol.ts";
import type { Addressed } from "./addressed.ts";
import type { Subject } from "./subject.ts";

/** Session ID 0, which precedes a control message over IP. */
const IP_PREFIX_BYTES = 4;
/** Maximum number of remembered IDs of setup attempts. */
const MAX_IDS = 64;

export class MessageReader {
  #secrets = "";
  #conversation = new Conversation([], true);
  /** IDs of the traced session in the messages so far. */
  readonly #ids = new Set<number>();

  /** Returns the message; null if it is not about the traced session. */
  read(
    packet: CapturedIpPacket,
    ip: IpPacket,
    addressed: Addressed,
    subject: Subject,
  ): TracedMessage | null {
    this.#follow(subject);
    const overUdp = subject.tunnel.encapsulation === "UDP";
    const octets = packet.octets.subarray(ip.payloadAt + (overUdp ? 0 : IP_PREFIX_BYTES));
    const hosts: Hosts = [ip.source, ip.destination];
    const message = this.#conversation.decode(octets, hosts);
    if (subject.session !== null && !this.#isAbout(message, subject)) return null;
    return {
      shows: "control",
      ...addressed,
      ...this.#conversation.describe(message, octets, hosts),
    };
  }

  /** Starts another conversation if the secrets changed. */
  #follow({ tunnel: { control } }: Subject): void {
    const secrets = control?.secrets ?? [];
    if (secrets.join() === this.#secrets) return;
    this.#secrets = secrets.join();
    this.#conversation = new Conversation(
      secrets.map((secret) => Uint8Array.from(Buffer.from(secret, "hex"))),
      true,
    );
  }

  #isAbout(message: Decoded | Undecodable, subject: Subject): boolean {
    if ("undecodable" in message) return false;
    const { type, attributes } = message;
    if (type === null || type === "unknown" || !isOfSession(type)) return false;
    const { localSessionId = 0, remoteSessionId = 0, remoteEndId } = attributes;
    const ids = [localSessionId, remoteSessionId].filter((id) => id !== 0);
    const session = subject.sessions.find(({ key }) => key === subject.session);
    const isCalled = remoteEndId !== undefined && remoteEndId === subject.remoteEndId;
    const isAbout = isCalled || ids.some((id) => this.#ids.has(id)) || hasId(session, ids);
    if (isAbout) this.#remember(ids);
    return isAbout;
  }

  #remember(ids: readonly number[]): void {
    for (const id of ids) this.#ids.add(id);
    for (const id of this.#ids) {
      if (this.#ids.size <= MAX_IDS) return;
      this.#ids.delete(id);
    }
  }
}

function hasId(session: Session | undefined, ids: readonly number[]): boolean {
  if (session === undefined) return false;
  return ids.includes(session.sessionId) || ids.includes(session.peerSessionId);
}
