/** A peer that sends given data messages over UDP to a host. */
import { checked } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { inNetns } from "../../linux/netns.ts";
import { AF_INET, encodeSockaddr } from "../../linux/socket.ts";
import { experimentalFrame } from "./frames.ts";
import type { Host } from "./net.ts";

const SOCK_DGRAM = 2;
const DATA_WORD = 0x0003_0000;
const SEQUENCE_PRESENT = 0x4000_0000;

export interface SentMessage {
  readonly sessionId?: number;
  /** Hexadecimal digits. */
  readonly cookie?: string;
  /** undefined: without sublayer; null: with sublayer, without sequence number. */
  readonly sequence?: number | null;
  readonly frame?: Uint8Array;
}

export class MessageSender {
  readonly #fd: number;
  readonly #to: Uint8Array;

  constructor(from: Host, to: Host, port = 5000) {
    this.#fd = inNetns(from.netns, () => checked(c.socket(AF_INET, SOCK_DGRAM, 0), "socket"));
    const local = encodeSockaddr({ address: from.ipv4, port });
    checked(c.bind(this.#fd, local, local.length), "bind");
    this.#to = encodeSockaddr({ address: to.ipv4, port });
  }

  send({ sessionId = 128, cookie = "", sequence, frame = experimentalFrame(64) }: SentMessage) {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(DATA_WORD, 0);
    head.writeUInt32BE(sessionId, 4);
    const sublayer = Buffer.alloc(sequence === undefined ? 0 : 4);
    if (typeof sequence === "number") sublayer.writeUInt32BE(SEQUENCE_PRESENT + sequence, 0);
    const bytes = Buffer.concat([head, Buffer.from(cookie, "hex"), sublayer, frame]);
    checked(c.sendto(this.#fd, bytes, bytes.length, 0, this.#to, this.#to.length), "send");
  }

  close(): void {
    c.close(this.#fd);
  }
}
