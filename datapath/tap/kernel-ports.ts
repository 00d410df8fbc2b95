/** The kernel's TAP devices and sockets as ports of the packet path. */
import { Errno } from "../sys/errno.ts";
import { lastErrno, packet } from "../sys/ffi.ts";
import { addressOf } from "../sys/memory.ts";
import { setTransmitChecksum } from "../sys/socket.ts";
import { BATCH_SIZE, type PacketBatch } from "./batch.ts";
import type { DatagramSocket, FrameDevice } from "./ports.ts";

const MSG_DONTWAIT = 0x40;

export class TapDevice implements FrameDevice {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  read(batch: PacketBatch, offset: number, length: number): number {
    const bytes = packet.read(this.fd, addressOf(batch.slots, offset, length), length);
    return bytes >= 0 ? bytes : failure();
  }

  write(batch: PacketBatch, offset: number, length: number): number {
    const bytes = packet.write(this.fd, addressOf(batch.slots, offset, length), length);
    return bytes >= 0 ? 0 : -lastErrno();
  }
}

export class TunnelSocket implements DatagramSocket {
  readonly fd: number;
  readonly family: number;
  #checksum = true;

  constructor(fd: number, family: number) {
    this.fd = fd;
    this.family = family;
  }

  receive(batch: PacketBatch): number {
    batch.resetNames(BATCH_SIZE);
    const messages = batch.messagesAt(0, BATCH_SIZE);
    const count = packet.recvmmsg(this.fd, messages, BATCH_SIZE, MSG_DONTWAIT, null);
    return count >= 0 ? count : failure();
  }

  send(batch: PacketBatch, first: number, count: number): number {
    const messages = batch.messagesAt(first, count);
    const sent = packet.sendmmsg(this.fd, messages, count, MSG_DONTWAIT);
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
