/** The kernel's TAP devices and sockets as ports of the packet path. */

import { Errno } from "../../../linux/errno.ts";
import { lastErrno, packet } from "../../../linux/ffi.ts";
import { addressOf } from "../../../linux/memory.ts";
import { sendTo, setTransmitChecksum } from "../../../linux/socket.ts";
import { type Uring, UringOperation } from "../../../linux/uring.ts";
import { VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import type { Arena } from "../packet/arena.ts";
import type { AcceptedGso, DatagramSocket, FrameBatch, FrameDevice } from "../packet/ports.ts";
import type { MessageVectors } from "../packet/vectors.ts";

const MSG_DONTWAIT = 0x40;

export class TapDevice implements FrameDevice {
  readonly fd: number;
  readonly index: number;
  acceptedGso: AcceptedGso;

  constructor(fd: number, index: number, acceptedGso: AcceptedGso) {
    this.fd = fd;
    this.index = index;
    this.acceptedGso = acceptedGso;
  }

  read(arena: Arena, at: number, length: number): number {
    const all = length + VNET_HEADER_BYTES;
    const bytes = packet.read(this.fd, addressOf(arena, at - VNET_HEADER_BYTES, all), all);
    return bytes >= 0 ? bytes - VNET_HEADER_BYTES : nothingOr(lastErrno());
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

  receive(messages: MessageVectors, first: number, count: number): number {
    const at = messages.addressOf(first, count);
    const received = packet.recvmmsg(this.fd, at, count, MSG_DONTWAIT, null);
    return received >= 0 ? received : nothingOr(lastErrno());
  }

  send(messages: MessageVectors, first: number, count: number): number {
    const at = messages.addressOf(first, count);
    const sent = packet.sendmmsg(this.fd, at, count, MSG_DONTWAIT);
    return sent >= 0 ? sent : -lastErrno();
  }

  sendTo(datagram: Uint8Array, sockaddr: Uint8Array): void {
    sendTo(this.fd, datagram, sockaddr);
  }

  setTransmitChecksum(on: boolean): void {
    if (on === this.#checksum) return;
    setTransmitChecksum(this.fd, this.family, on);
    this.#checksum = on;
  }
}

/** Reads and writes by io_uring; one by one after the kernel has rejected io_uring. */
export class KernelFrameBatch implements FrameBatch {
  readonly #arena: Arena;
  readonly #uring: Uring;
  readonly #refused: (errno: number) => void;
  #isRefused = false;
  readonly #devices: TapDevice[] = [];
  readonly #isWrite: Uint8Array;
  readonly #at: Int32Array;
  readonly #length: Int32Array;
  readonly #results: Int32Array;

  /** @param refused is called once, with the errno, when the kernel rejects io_uring */
  constructor(arena: Arena, uring: Uring, refused: (errno: number) => void) {
    this.#arena = arena;
    this.#uring = uring;
    this.#refused = refused;
    this.#isWrite = new Uint8Array(uring.size);
    this.#at = new Int32Array(uring.size);
    this.#length = new Int32Array(uring.size);
    this.#results = new Int32Array(uring.size);
  }

  setRead(index: number, device: TapDevice, at: number, length: number): void {
    this.#set(index, device, at, length, UringOperation.Read);
  }

  setWrite(index: number, device: TapDevice, at: number, length: number): void {
    this.#set(index, device, at, length, UringOperation.Write);
  }

  run(count: number): void {
    // A plain system call is faster for a single request.
    if (count === 1) return this.#doAlone(0);
    const done = this.#isRefused ? 0 : this.#uring.run(count);
    for (let index = 0; index < done; index++) {
      const result = this.#uring.result(index);
      const isWrite = this.#isWrite[index] !== 0;
      // The kernel's TAP devices do not support nonblocking requests by io_uring.
      if (result === -Errno.EOPNOTSUPP) this.#refuse(-result);
      if (result === -Errno.EOPNOTSUPP || (isWrite && result === -Errno.EAGAIN)) {
        this.#doAlone(index);
      } else if (isWrite) this.#results[index] = Math.min(result, 0);
      else this.#results[index] = result > 0 ? result - VNET_HEADER_BYTES : nothingOr(-result);
    }
    if (done === count) return;
    if (!this.#isRefused) this.#refuse(lastErrno());
    for (let index = done; index < count; index++) this.#doAlone(index);
  }

  result(index: number): number {
    return this.#results[index] as number;
  }

  #set(
    index: number,
    device: TapDevice,
    at: number,
    length: number,
    operation: UringOperation,
  ): void {
    this.#devices[index] = device;
    this.#isWrite[index] = operation === UringOperation.Write ? 1 : 0;
    this.#at[index] = at;
    this.#length[index] = length;
    const all = length + VNET_HEADER_BYTES;
    const address = addressOf(this.#arena, at - VNET_HEADER_BYTES, all);
    this.#uring.prepare(index, operation, device.fd, address, all);
  }

  #refuse(errno: number): void {
    if (!this.#isRefused) this.#refused(errno);
    this.#isRefused = true;
  }

  #doAlone(index: number): void {
    const device = this.#devices[index] as TapDevice;
    const at = this.#at[index] as number;
    const length = this.#length[index] as number;
    this.#results[index] =
      this.#isWrite[index] !== 0
        ? device.write(this.#arena, at, length)
        : device.read(this.#arena, at, length);
  }
}

/** Returns 0 if the call would have blocked or was interrupted; otherwise −errno. */
function nothingOr(errno: number): number {
  return errno === Errno.EAGAIN || errno === Errno.EINTR ? 0 : -errno;
}
