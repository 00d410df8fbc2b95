/** Ethernet frames, sent and received by a packet socket (packet(7)). */

import { checked } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { inNetns } from "../../linux/netns.ts";
import { until } from "./wait.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 0x0003;
const MSG_DONTWAIT = 0x40;
/** The EtherType for local experiments (IEEE 802): no network stack answers it. */
export const EXPERIMENTAL = "88b5";

/** A packet socket on an interface. */
export class FramePort {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(70_000);

  /** @param netns the path of its namespace */
  constructor(netns: string, name: string) {
    const netlink = new NetlinkSocket(NETLINK_ROUTE, netns);
    const link = findLink(netlink, name);
    netlink.close();
    if (link === undefined) throw new Error(`${netns} has no ${name}`);
    this.#fd = inNetns(netns, () => checked(c.socket(AF_PACKET, SOCK_RAW, 0), "socket"));
    const one = Buffer.alloc(4);
    one.writeInt32LE(1);
    checked(c.setsockopt(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, one, 4), "setsockopt");
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(4 * 1024 * 1024);
    checked(c.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes, 4), "setsockopt");
    const sockaddr = Buffer.alloc(20);
    sockaddr.writeUInt16LE(AF_PACKET, 0);
    sockaddr.writeUInt16BE(ETH_P_ALL, 2);
    sockaddr.writeInt32LE(link.index, 4);
    checked(c.bind(this.#fd, sockaddr, sockaddr.length), "bind", name);
  }

  send(frame: Uint8Array): void {
    checked(c.sendto(this.#fd, frame, frame.length, 0, null, 0), "send");
  }

  /** The next received frame, or null. */
  receive(): Buffer | null {
    const bytes = c.recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
    return bytes < 0 ? null : Buffer.from(this.#buffer.subarray(0, bytes));
  }

  close(): void {
    c.close(this.#fd);
  }
}

/** A frame of `bytes` bytes, whose content differs for each size. */
export function experimentalFrame(bytes: number): Buffer {
  const frame = Buffer.alloc(bytes);
  frame.write(`020000000002020000000001${EXPERIMENTAL}`, "hex");
  for (let at = 14; at < bytes; at++) frame[at] = (at * 31 + bytes) & 0xff;
  return frame;
}

/** Frames in flight: fewer than any queue between the two ends holds. */
const WINDOW = 32;

/** Sends a frame of every size from 60 bytes to `largest`, and waits until each arrives unchanged. */
export async function expectEverySize(
  from: FramePort,
  to: FramePort,
  largest: number,
): Promise<void> {
  for (let first = 60; first <= largest; first += WINDOW) {
    const missing = new Map<number, Buffer>();
    for (let bytes = first; bytes < first + WINDOW && bytes <= largest; bytes++) {
      missing.set(bytes, experimentalFrame(bytes));
    }
    for (const frame of missing.values()) from.send(frame);
    await until(`frames of ${[...missing.keys()].join(", ")} bytes arrive unchanged`, () => {
      for (let frame = to.receive(); frame !== null; frame = to.receive()) {
        if (missing.get(frame.length)?.equals(frame)) missing.delete(frame.length);
      }
      return missing.size === 0;
    });
  }
}
