/** The two sides of the packet path as it sees them: a frame device, and a datagram socket. */
import type { Arena } from "./arena.ts";
import type { MessageVectors } from "./vectors.ts";

/** UDP needs Linux 6.2 (VIRTIO_NET_HDR_GSO_UDP_L4). */
export type AcceptedGso = "all" | "TCP" | "none";

/** A TAP device, or one in memory. Never blocks, never throws. */
export interface FrameDevice {
  /** The index of the interface that pods or the node see, in its namespace. */
  readonly index: number;
  /** Which frames it takes joined to large ones; less, once it has refused some. */
  acceptedGso: AcceptedGso;
  /**
   * One frame to `at`, with its virtio_net_hdr in front of that. Returns the frame's bytes, 0 where none
   * waits, −errno where the device failed.
   */
  read(arena: Arena, at: number, length: number): number;
  /** One frame from `at`, with its virtio_net_hdr in front of that. Returns 0, or −errno. */
  write(arena: Arena, at: number, length: number): number;
}

/** Places of a FrameBatch. */
export const BATCH_FRAMES = 64;

/** Reads and writes of several devices in one system call, in order. Never blocks, never throws. */
export interface FrameBatch {
  /** Sets what FrameDevice.read is to do in place `index`. */
  setRead(index: number, device: FrameDevice, at: number, length: number): void;
  /** Sets what FrameDevice.write is to do in place `index`. */
  setWrite(index: number, device: FrameDevice, at: number, length: number): void;
  /** Does the first `count`. */
  run(count: number): void;
  /** What FrameDevice's method would have returned. */
  result(index: number): number;
}

/** A tunnel socket, or one in memory. Never blocks, never throws. */
export interface DatagramSocket {
  /** Whether a message may be cut into datagrams by the kernel (UDP_SEGMENT). */
  readonly canSegment: boolean;
  /** Fills `count` messages from the first on. Returns how many, 0 where nothing waits, −errno. */
  receive(messages: MessageVectors, first: number, count: number): number;
  /** Sends `count` messages from the first on. Returns how many went, or −errno of the first. */
  send(messages: MessageVectors, first: number, count: number): number;
  /** One datagram, to a struct sockaddr; whether it goes out is not told. */
  sendTo(datagram: Uint8Array, sockaddr: Uint8Array): void;
  /** Whether the datagrams that follow carry a UDP checksum. */
  setTransmitChecksum(on: boolean): void;
}
