/** A peer that sends frames with given sequence numbers, over UDP and IPv4 to session 128 without a cookie. */
import { checked } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { inNetns } from "../../linux/netns.ts";
import { AF_INET, encodeSockaddr } from "../../linux/socket.ts";
import { experimentalFrame } from "./frames.ts";
import type { Host } from "./net.ts";

const SOCK_DGRAM = 2;
const SEQUENCE_MASK = 0xff_ffff;
const S_BIT = 0x4000_0000;
const FRAME_BYTES = 64;
const MARK_AT = 20;

/** Each frame has a unique mark. */
export class SequencedSender {
  readonly #fd: number;
  readonly #to: Uint8Array;
  #mark = 0;
  sent = 0;

  constructor(from: Host, to: Host, { port = 5000, remotePort = 5000 } = {}) {
    this.#fd = inNetns(from.netns, () => checked(c.socket(AF_INET, SOCK_DGRAM, 0), "socket"));
    const local = encodeSockaddr({ address: from.ipv4, port });
    checked(c.bind(this.#fd, local, local.length), "bind");
    this.#to = encodeSockaddr({ address: to.ipv4, port: remotePort });
  }

  /** @returns the frame's mark */
  send(sequence: number): number {
    const message = Buffer.alloc(12);
    message.writeUInt32BE(0x0003_0000, 0);
    message.writeUInt32BE(128, 4);
    message.writeUInt32BE(S_BIT + (sequence & SEQUENCE_MASK), 8);
    const frame = experimentalFrame(FRAME_BYTES);
    const mark = ++this.#mark;
    frame.writeUInt32BE(mark, MARK_AT);
    const bytes = Buffer.concat([message, frame]);
    checked(c.sendto(this.#fd, bytes, bytes.length, 0, this.#to, this.#to.length), "send");
    this.sent++;
    return mark;
  }

  close(): void {
    c.close(this.#fd);
  }
}

/** The mark of a received frame; null: not a frame of SequencedSender. */
export function markOf(frame: Buffer): number | null {
  return frame.length === FRAME_BYTES ? frame.readUInt32BE(MARK_AT) : null;
}
