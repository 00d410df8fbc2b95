/** The kernel's TAP devices and sockets as ports of the packet path. */
import { VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import { Errno } from "../sys/errno.ts";
import { lastErrno, packet } from "../sys/ffi.ts";
import { addressOf } from "../sys/memory.ts";
import { setTransmitChecksum } from "../sys/socket.ts";
import type { Arena } from "./arena.ts";
import type { DatagramSocket, FrameDevice, Joins } from "./ports.ts";
import type { MessageVectors } from "./vectors.ts";

const MSG_DONTWAIT = 0x40;

export class TapDevice implements FrameDevice {
  readonly fd: number;
  joins: Joins;

  constructor(fd: number, joins: Joins) {
    this.fd = fd;
    this.joins = joins;
  }

  read(arena: Arena, at: number, length: number): number {
    const all = length + VNET_HEADER_BYTES;
    const bytes = packet.read(this.fd, addressOf(arena, at - VNET_HEADER_BYTES, all), all);
    return bytes >= 0 ? bytes - VNET_HEADER_BYTES : failure();
  }

  write(arena: Arena, at: number, length: number): number {
    const all = length + VNET_HEADER_BYTES;
    const bytes = packet.write(this.fd, addressOf(arena, at - VNET_HEADER_BYTES, all), all);
    return bytes >= 0 ? 0 : -lastErrno();
  }
}

export class TunnelSocket implements DatagramSocket {
  readonly fd: number;
  readonly family: number;
  readonly canSegment: boolean;
  #checksum = true;

  constructor(fd: number, family: number, canSegment: boolean) {
    this.fd = fd;
    this.family = family;
    this.canSegment = canSegment;
  }

  receive(messages: MessageVectors): number {
    const at = messages.addressOf(0, messages.count);
    const count = packet.recvmmsg(this.fd, at, messages.count, MSG_DONTWAIT, null);
    return count >= 0 ? count : failure();
  }

  send(messages: MessageVectors, first: number, count: number): number {
    const at = messages.addressOf(first, count);
    const sent = packet.sendmmsg(this.fd, at, count, MSG_DONTWAIT);
    return sent >= 0 ? sent : -lastErrno();
  }

  setTransmitChecksum(on: boolean): void {
    if (on === this.#checksum) return;
    setTransmitChecksum(this.fd, this.family, on);
    this.#checksum = on;
  }
}

/** 0 where the call would only have had to wait. */
function failure(): number {
  const errno = lastErrno();
  return errno === Errno.EAGAIN || errno === Errno.EINTR ? 0 : -errno;
}
