/** A peer for EthernetVLAN sessions that sends given datagrams over UDP, without cookie and sublayer. */
import { openTunnelSocket } from "../../datapath/tunnel-socket.ts";
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { inNetns } from "../../linux/netns.ts";
import { encodeSockaddr } from "../../linux/socket.ts";
import type { Host } from "./net.ts";
import { until } from "./wait.ts";

export const PORT = 5000;
const PREFIX = "00030000";
const MSG_DONTWAIT = 0x40;

/** A frame, in hexadecimal digits, with tags such as "81000064". @param mark identifies the frame */
export function taggedFrame(tags: string, mark: number, source = "020000000001"): string {
  return `ffffffffffff${source}${tags}88b5${mark.toString(16).padStart(4, "0")}`.padEnd(128, "0");
}

export class RawPeer {
  readonly #fd: number;
  readonly #to: Buffer;
  readonly #header: string;
  readonly #buffer = Buffer.alloc(70_000);
  readonly #heard: string[] = [];

  constructor(at: Host, remote: Host, sessionId = 128) {
    this.#fd = inNetns(at.netns, () => openTunnelSocket("UDP", { address: at.ipv4, port: PORT }));
    this.#to = Buffer.from(encodeSockaddr({ address: remote.ipv4, port: PORT }));
    this.#header = PREFIX + sessionId.toString(16).padStart(8, "0");
  }

  send(frame: string): void {
    const bytes = Buffer.from(this.#header + frame, "hex");
    checked(c.sendto(this.#fd, bytes, bytes.length, 0, this.#to, this.#to.length), "send");
  }

  /** All frames received so far. */
  heard(): readonly string[] {
    for (;;) {
      const bytes = c.recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      if (bytes < 0) {
        try {
          checked(bytes, "recv");
        } catch (error) {
          if (!isErrno(error, "EAGAIN", "ECONNREFUSED")) throw error;
        }
        return this.#heard;
      }
      this.#heard.push(this.#buffer.toString("hex", 16 / 2, bytes));
    }
  }

  /** Waits until the frame is received. */
  hears(frame: string): Promise<unknown> {
    return until(
      () => `${frame} arrives: ${this.#heard.join("\n")}`,
      () => this.heard().includes(frame),
    );
  }

  close(): void {
    c.close(this.#fd);
  }
}
