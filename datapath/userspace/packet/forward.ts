/**
 * The packet path: frames from devices into datagrams, and back. It never allocates for a frame, nor
 * throws; it counts, and says once what the kernel refuses. Frames travel device → Transmitter → SendQueue →
 * socket, and socket → Receiver → Delivery → device.
 */
import { Errno } from "../../../linux/errno.ts";
import { type Arena, createArena } from "./arena.ts";
import { Delivery } from "./deliver.ts";
import type { FrameBatch } from "./ports.ts";
import { type ControlReceiver, Receiver } from "./receive.ts";
import { SendQueue } from "./send-queue.ts";
import type { SessionState } from "./session.ts";
import { Transmitter } from "./transmit.ts";
import type { LocalEndpoint, TunnelState } from "./tunnel.ts";

export interface ForwarderOptions {
  /** The session's device takes no large frames. */
  joinRefused(session: SessionState, errno: number): void;
  /** The kernel does not cut messages of so many bytes into datagrams for the tunnel. */
  segmentRefused(tunnel: TunnelState, segmentBytes: number, errno: number): void;
  /** What is no frame of a session. */
  control: ControlReceiver;
  /** Several frames in one system call, where there is such a thing. */
  createBatch(arena: Arena): FrameBatch | null;
}

export class Forwarder {
  readonly #queue: SendQueue;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;

  constructor({ joinRefused, segmentRefused, control, createBatch }: ForwarderOptions) {
    const arena = createArena(SendQueue.BYTES + Receiver.BYTES + Delivery.BYTES);
    this.#queue = new SendQueue(arena, 0, (tunnel, segmentBytes, errno) => {
      // Others of the size may have been under way.
      if (segmentBytes > tunnel.segmentLimit) return;
      // Without checksums by the device, it never does.
      tunnel.segmentLimit = errno === Errno.EIO ? 0 : segmentBytes - 1;
      // Once: pods choose the sizes.
      if (!tunnel.hasRefused) segmentRefused(tunnel, segmentBytes, errno);
      tunnel.hasRefused = true;
    });
    // One for both: neither leaves anything in it.
    const batch = createBatch(arena);
    this.#transmitter = new Transmitter(arena, this.#queue, batch);
    const delivery = new Delivery(arena, SendQueue.BYTES + Receiver.BYTES, batch, joinRefused);
    this.#receiver = new Receiver(arena, SendQueue.BYTES, delivery, control);
  }

  /** Queues some of the frames that wait in the session's device. False: device lost. */
  readDevice(session: SessionState): boolean {
    return this.#transmitter.readDevice(session);
  }

  /** Sends what is queued. */
  flush(): void {
    this.#queue.flush();
  }

  /** Takes at most a batch of the datagrams that wait at the endpoint. */
  readEndpoint(endpoint: LocalEndpoint, now: number): void {
    this.#receiver.readEndpoint(endpoint, now);
  }

  /** Delivers held frames that have waited long enough. */
  expire(now: number): void {
    this.#receiver.expire(now);
  }

  /** When `expire` has something to do; Infinity where nothing waits. */
  nextDeadline(): number {
    return this.#receiver.nextDeadline();
  }

  /** Delivers all that the session holds: it goes away, or its sequencing changes. */
  release(session: SessionState): void {
    this.#receiver.release(session);
  }
}
