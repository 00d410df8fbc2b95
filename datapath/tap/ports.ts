/** The two sides of the packet path as it sees them: a frame device, and a datagram socket. */
import type { PacketBatch } from "./batch.ts";

/** A TAP device, or one in memory. Never blocks, never throws. */
export interface FrameDevice {
  /** One frame to `offset`. Returns its bytes, 0 where none waits, −errno where the device failed. */
  read(batch: PacketBatch, offset: number, length: number): number;
  /** One frame from `offset`. Returns 0, or −errno. */
  write(batch: PacketBatch, offset: number, length: number): number;
}

/** A tunnel socket, or one in memory. Never blocks, never throws. */
export interface DatagramSocket {
  /** Fills slots from the first on. Returns how many, 0 where nothing waits, −errno. */
  receive(batch: PacketBatch): number;
  /** Sends `count` messages from slot `first` on. Returns how many went, or −errno of the first. */
  send(batch: PacketBatch, first: number, count: number): number;
  /** Whether the datagrams that follow carry a UDP checksum. */
  setTransmitChecksum(on: boolean): void;
}
