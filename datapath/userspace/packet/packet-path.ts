/**
 * The packet path: encapsulates frames from devices into datagrams, and decapsulates them. It never allocates or throws
 * for a frame. It counts, and reports once what the kernel rejects. Frames pass device → Transmitter → SendQueue →
 * socket, and socket → Receiver → FrameWriter → device.
 */
import { Errno } from "../../../linux/errno.ts";
import { type Arena, createArena } from "./arena.ts";
import { FrameWriter } from "./frame-writer.ts";
import type { FrameBatch } from "./ports.ts";
import { type ControlReceiver, Receiver } from "./receive.ts";
import { SendQueue } from "./send-queue.ts";
import type { PacketSession, PacketTunnel } from "./session.ts";
import { Switcher } from "./switch.ts";
import { Transmitter } from "./transmit.ts";

export interface PacketPathOptions {
  /** Called when the session's device rejects large frames. */
  gsoRefused(session: PacketSession, errno: number): void;
  /** Called when the kernel refuses to segment the tunnel's messages into datagrams of `segmentBytes`. */
  segmentRefused(tunnel: PacketTunnel, segmentBytes: number, errno: number): void;
  /** Receives the control messages. */
  control: ControlReceiver;
  /** Creates a batch for several frames in one system call; null: not available. */
  createBatch(arena: Arena): FrameBatch | null;
}

/** The parts of the packet path, for the loop and the table to call. */
export interface PacketPath {
  /** Receives from sockets, and writes to devices. */
  readonly receiver: Receiver;
  /** Reads from devices into the queue. */
  readonly transmitter: Transmitter;
  /** Sends from the queue to sockets. */
  readonly queue: SendQueue;
}

/** Allocates the arena, and creates the packet path over it. */
export function createPacketPath(options: PacketPathOptions): PacketPath {
  const { gsoRefused, segmentRefused, control, createBatch } = options;
  const arena = createArena(SendQueue.BYTES + Receiver.BYTES + FrameWriter.BYTES);
  const queue = new SendQueue(arena, 0, (tunnel, segmentBytes, errno) => {
    // Another message of this size may have been rejected before.
    if (segmentBytes > tunnel.segmentLimit) return;
    // EIO is permanent: the device computes no checksums. Other errors end when the path MTU increases.
    const isForGood = errno === Errno.EIO;
    tunnel.limitSegments(isForGood ? 0 : segmentBytes - 1, isForGood);
    // Reported once, because pods choose the sizes.
    if (!tunnel.hasRefused) segmentRefused(tunnel, segmentBytes, errno);
    tunnel.hasRefused = true;
  });
  // Both share the batch: neither leaves requests in it.
  const batch = createBatch(arena);
  const writer = new FrameWriter(arena, SendQueue.BYTES + Receiver.BYTES, batch, gsoRefused);
  return {
    queue,
    transmitter: new Transmitter(arena, queue, batch),
    receiver: new Receiver(arena, SendQueue.BYTES, writer, new Switcher(arena, queue), control),
  };
}
