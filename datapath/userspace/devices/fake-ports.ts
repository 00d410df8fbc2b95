/** Devices and sockets in memory, for tests of the packet path. */

import { encodeSockaddr, type SocketAddress } from "../../../linux/socket.ts";
import { formatAddress } from "../../../net/ip.ts";
import { GsoType, VNET, VNET_HEADER_BYTES } from "../offload/vnet-header.ts";
import type { Arena } from "../packet/arena.ts";
import type { AcceptedGso, DatagramSocket, FrameBatch, FrameDevice } from "../packet/ports.ts";
import type { MessageVectors } from "../packet/vectors.ts";

export class FakeDevice implements FrameDevice {
  readonly index = 1;
  acceptedGso: AcceptedGso = "all";
  /** Frames to be read. */
  readonly toRead: Uint8Array[] = [];
  /** The virtio_net_hdr of the next frame. */
  readonly header = new DataView(new ArrayBuffer(VNET_HEADER_BYTES));
  /** Written frames. */
  readonly written: Uint8Array[] = [];
  /** The errno of each write; 0: none. */
  writeErrno = 0;
  /** True: rejects large frames, like an old kernel. */
  refusesLarge = false;

  read(arena: Arena, at: number): number {
    const frame = this.toRead.shift();
    if (frame === undefined) return 0;
    arena.bytes.set(new Uint8Array(this.header.buffer), at - VNET_HEADER_BYTES);
    arena.bytes.set(frame, at);
    return frame.length;
  }

  write(arena: Arena, at: number, length: number): number {
    if (this.writeErrno !== 0) return -this.writeErrno;
    const isLarge = arena.view.getUint8(at - VNET_HEADER_BYTES + VNET.gsoType) !== GsoType.None;
    if (isLarge && this.refusesLarge) return -22;
    this.written.push(arena.bytes.slice(at, at + length));
    return 0;
  }
}

/** A batch like io_uring's: reads and writes happen in `run`. */
export class FakeBatch implements FrameBatch {
  /** The number of requests in each call. */
  readonly calls: number[] = [];
  readonly #requests: (() => number)[] = [];
  readonly #results: number[] = [];
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  setRead(index: number, device: FakeDevice, at: number): void {
    this.#requests[index] = () => device.read(this.#arena, at);
  }

  setWrite(index: number, device: FakeDevice, at: number, length: number): void {
    this.#requests[index] = () => device.write(this.#arena, at, length);
  }

  run(count: number): void {
    this.calls.push(count);
    for (let index = 0; index < count; index++) {
      this.#results[index] = this.#requests[index]?.() ?? 0;
    }
  }

  result(index: number): number {
    return this.#results[index] as number;
  }
}

export interface FakeDatagram {
  readonly from: SocketAddress;
  readonly bytes: Uint8Array;
  /** The bytes of each datagram, if the kernel has joined several. */
  readonly segment?: number;
  /** The destination, at the socket of a prefix. */
  readonly to?: SocketAddress;
  /** The traffic class that the kernel reports. */
  readonly trafficClass?: number;
}

export class FakeSocket implements DatagramSocket {
  readonly canSegment = true;
  /** Datagrams to be received. */
  readonly toReceive: FakeDatagram[] = [];
  readonly sent: Uint8Array[] = [];
  /** The number of datagrams in each sent message. */
  readonly messages: number[] = [];
  /** The traffic class of each sent message. */
  readonly classes: number[] = [];
  /** The source addresses of sent messages that specify one. */
  readonly sources: string[] = [];
  /** The errno of the next send; 0: none. */
  sendErrno = 0;

  receive(messages: MessageVectors, first: number, count: number): number {
    const received = Math.min(count, this.toReceive.length);
    for (let index = first; index < first + received; index++) {
      const { from, bytes, segment = 0, to, trafficClass } = this.toReceive.shift() as FakeDatagram;
      messages.pretendReceived(index, bytes, segment, encodeSockaddr(from));
      if (to !== undefined) messages.pretendSentTo(index, encodeSockaddr(to));
      if (trafficClass !== undefined) messages.pretendTrafficClass(index, trafficClass);
    }
    return received;
  }

  send(messages: MessageVectors, first: number, count: number): number {
    if (this.sendErrno !== 0) {
      const errno = this.sendErrno;
      this.sendErrno = 0;
      return -errno;
    }
    for (let index = first; index < first + count; index++) {
      const datagrams = messages.datagrams(index);
      this.classes.push(messages.trafficClass(index));
      if (messages.hasDestination(index)) this.sources.push(sourceOf(messages, index));
      this.messages.push(datagrams.length);
      this.sent.push(...datagrams);
    }
    return count;
  }

  sendTo(datagram: Uint8Array): void {
    this.sent.push(Uint8Array.from(datagram));
  }

  setTransmitChecksum(): void {}
}

/** Returns the source address that a sent message specifies. */
function sourceOf(messages: MessageVectors, index: number): string {
  const words = [0, 1, 2, 3].map((word) => messages.destinationWord(index, word));
  return formatAddress(new Uint8Array(Int32Array.from(words).buffer));
}
