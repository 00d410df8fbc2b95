/** Devices and sockets in memory, for tests of the packet path. They stand beside the real ones. */
import { encodeSockaddr, type SocketAddress } from "../sys/socket.ts";
import { BATCH_SIZE, type PacketBatch } from "./batch.ts";
import type { DatagramSocket, FrameDevice } from "./ports.ts";

export class FakeDevice implements FrameDevice {
  /** Frames that wait to be read. */
  readonly toRead: Uint8Array[] = [];
  /** Frames that were written. */
  readonly written: Uint8Array[] = [];
  /** errno that writing meets; 0: none. */
  writeErrno = 0;

  read(batch: PacketBatch, offset: number): number {
    const frame = this.toRead.shift();
    if (frame === undefined) return 0;
    batch.bytes.set(frame, offset);
    return frame.length;
  }

  write(batch: PacketBatch, offset: number, length: number): number {
    if (this.writeErrno !== 0) return -this.writeErrno;
    this.written.push(batch.bytes.slice(offset, offset + length));
    return 0;
  }
}

export interface FakeDatagram {
  readonly from: SocketAddress;
  readonly bytes: Uint8Array;
}

export class FakeSocket implements DatagramSocket {
  /** Datagrams that wait to be received. */
  readonly toReceive: FakeDatagram[] = [];
  readonly sent: Uint8Array[] = [];
  /** errno that the next message meets. */
  sendErrno = 0;

  receive(batch: PacketBatch): number {
    const count = Math.min(BATCH_SIZE, this.toReceive.length);
    for (let slot = 0; slot < count; slot++) {
      const { from, bytes } = this.toReceive.shift() as FakeDatagram;
      batch.bytes.set(bytes, batch.frameOffset(slot));
      batch.pretendReceived(slot, bytes.length, encodeSockaddr(from));
    }
    return count;
  }

  send(batch: PacketBatch, first: number, count: number): number {
    if (this.sendErrno !== 0) {
      const errno = this.sendErrno;
      this.sendErrno = 0;
      return -errno;
    }
    for (let slot = first; slot < first + count; slot++)
      this.sent.push(batch.payload(slot).slice());
    return count;
  }

  setTransmitChecksum(): void {}
}
