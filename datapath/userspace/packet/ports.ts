/** The two sides of the packet path: a frame device and a datagram socket. */
import type { Arena } from "./arena.ts";
import type { MessageVectors } from "./vectors.ts";

/** Large frames that a device accepts. UDP requires Linux 6.2 (VIRTIO_NET_HDR_GSO_UDP_L4). */
export type AcceptedGso = "all" | "TCP" | "none";

/** A TAP device, or one in memory. Never blocks, never throws. */
export interface FrameDevice {
  /** The index of the interface in the pod or on the node, in its namespace. */
  readonly index: number;
  /** The large frames that it accepts. Reduced after it has rejected some. */
  acceptedGso: AcceptedGso;
  /**
   * Reads one frame to `at`, and its virtio_net_hdr in front of that. Returns the frame's bytes; 0: no frame; −errno:
   * the device failed.
   */
  read(arena: Arena, at: number, length: number): number;
  /** Writes one frame from `at`, with its virtio_net_hdr in front of that. Returns 0, or −errno. */
  write(arena: Arena, at: number, length: number): number;
}

/** The number of requests in a FrameBatch. */
export const BATCH_FRAMES = 64;

/** Reads and writes of several devices in one system call, in order. Never blocks, never throws. */
export interface FrameBatch {
  /** Sets request `index` to a FrameDevice.read. */
  setRead(index: number, device: FrameDevice, at: number, length: number): void;
  /** Sets request `index` to a FrameDevice.write. */
  setWrite(index: number, device: FrameDevice, at: number, length: number): void;
  /** Runs the first `count` requests. */
  run(count: number): void;
  /** Returns the result of FrameDevice's method. */
  result(index: number): number;
}

/** A tunnel socket, or one in memory. Never blocks, never throws. */
export interface DatagramSocket {
  /** True if the kernel can segment a message into datagrams (UDP_SEGMENT). */
  readonly canSegment: boolean;
  /** Receives up to `count` messages from `first` on. Returns their number; 0: none; −errno. */
  receive(messages: MessageVectors, first: number, count: number): number;
  /** Sends `count` messages from `first` on. Returns the number sent, or −errno of the first. */
  send(messages: MessageVectors, first: number, count: number): number;
  /** Sends one datagram to a struct sockaddr, without reporting errors. */
  sendTo(datagram: Uint8Array, sockaddr: Uint8Array): void;
  /** Sets whether later datagrams have a UDP checksum. */
  setTransmitChecksum(on: boolean): void;
}
