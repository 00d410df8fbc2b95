/**
 * The packet path: frames from devices into datagrams, and back. It never allocates for a frame, nor
 * throws; it counts, and says once what the kernel refuses. Frames travel device → Transmitter → SendQueue →
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
  /** The session's device takes no large frames. */
  gsoRefused(session: PacketSession, errno: number): void;
  /** The kernel does not cut messages of so many bytes into datagrams for the tunnel. */
  segmentRefused(tunnel: PacketTunnel, segmentBytes: number, errno: number): void;
  /** What is no frame of a session. */
  control: ControlReceiver;
  /** Several frames in one system call, where there is such a thing. */
  createBatch(arena: Arena): FrameBatch | null;
}

/** The parts of the packet path, for the loop and the table to call. */
export interface PacketPath {
  /** From sockets to devices. */
  readonly receiver: Receiver;
  /** From devices into the queue. */
  readonly transmitter: Transmitter;
  /** From the queue to sockets. */
  readonly queue: SendQueue;
}

export function createPacketPath(options: PacketPathOptions): PacketPath {
  const { gsoRefused, segmentRefused, control, createBatch } = options;
  const arena = createArena(SendQueue.BYTES + Receiver.BYTES + FrameWriter.BYTES);
  const queue = new SendQueue(arena, 0, (tunnel, segmentBytes, errno) => {
    // Others of the size may have been under way.
    if (segmentBytes > tunnel.segmentLimit) return;
    // Without checksums by the device, it never does; datagrams above the path's MTU it does when the path is wider.
    const isForGood = errno === Errno.EIO;
    tunnel.limitSegments(isForGood ? 0 : segmentBytes - 1, isForGood);
    // Once: pods choose the sizes.
    if (!tunnel.hasRefused) segmentRefused(tunnel, segmentBytes, errno);
    tunnel.hasRefused = true;
  });
  // One for both: neither leaves anything in it.
  const batch = createBatch(arena);
  const writer = new FrameWriter(arena, SendQueue.BYTES + Receiver.BYTES, batch, gsoRefused);
  return {
    queue,
    transmitter: new Transmitter(arena, queue, batch),
    receiver: new Receiver(arena, SendQueue.BYTES, writer, new Switcher(arena, queue), control),
  };
}
