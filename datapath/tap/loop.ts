/**
 * The one thread of the process: waits for readiness, gives each device and each socket at most one
 * batch a round, and sleeps without a timer while nothing waits. Control requests run between
 * batches, on the same thread, so that no packet ever sees half of a change.
 */

import type { Tunnel } from "../../l2tp/model.ts";
import type { DevicePlace } from "../datapath.ts";
import { EPOLLIN, Epoll } from "../sys/epoll.ts";
import { errnoName } from "../sys/errno.ts";
import { closeFd } from "../sys/fd.ts";
import { Policy, setPolicy } from "../sys/scheduler.ts";
import {
  AF_INET,
  AF_INET6,
  canSegment,
  joinReceived,
  openTunnelSocket,
  setReceiveZeroChecksum,
} from "../sys/socket.ts";
import { openTap } from "../sys/tun.ts";
import { Uring } from "../sys/uring.ts";
import type { Arena } from "./arena.ts";
import { Busyness } from "./busyness.ts";
import { Forwarder } from "./forward.ts";
import { KernelFrameBatch, TapDevice, TunnelSocket } from "./kernel-ports.ts";
import { BATCH_FRAMES, type DatagramSocket, type FrameBatch, type FrameDevice } from "./ports.ts";
import type { SessionState } from "./session.ts";
import { type Ports, Table } from "./table.ts";
import type { LocalEndpoint } from "./tunnel.ts";

/** What a descriptor's readiness leads to. */
export interface Handler {
  ready(now: number): void;
  /** Whether what it queues may wait for the handlers after it, and so share a system call. */
  readonly queues: boolean;
}

export interface LoopOptions {
  /** Large frames and messages, which devices and kernel cut and join. */
  readonly offload: boolean;
  log(line: string): void;
}

export class Loop implements Ports {
  readonly epoll = new Epoll();
  readonly forwarder: Forwarder;
  readonly table: Table;
  readonly #offload: boolean;
  /** By descriptor. */
  readonly #handlers: (Handler | undefined)[] = [];
  readonly #busyness = new Busyness((isBusy) => setPolicy(isBusy ? Policy.Batch : Policy.Other));
  #stopping = false;

  constructor({ offload, log }: LoopOptions) {
    this.#offload = offload;
    this.forwarder = new Forwarder({
      joinRefused: ({ config }, errno) =>
        log(
          `session ${config.key}: its device takes no large frames (${errnoName(errno)}); all go one by one from now on`,
        ),
      segmentRefused: ({ config }, segmentBytes, errno) =>
        log(
          `tunnel ${config.name}: the kernel does not cut messages into datagrams of ${segmentBytes} bytes (${errnoName(errno)}); such go one by one from now on`,
        ),
      createBatch: (arena) => (offload ? createBatch(arena, log) : null),
    });
    this.table = new Table(this, this.forwarder);
  }

  /** Runs until `stop`. */
  run(): void {
    while (!this.#stopping) this.#round(this.#timeoutMs());
  }

  stop(): void {
    this.#stopping = true;
  }

  watch(fd: number, interest: number, handler: Handler): void {
    this.epoll.add(fd, interest);
    this.#handlers[fd] = handler;
  }

  /** Closes what cannot be watched. */
  #watchOrClose(fd: number, handler: Handler): void {
    try {
      this.watch(fd, EPOLLIN, handler);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  unwatch(fd: number): void {
    this.epoll.remove(fd);
    this.#handlers[fd] = undefined;
  }

  /** Milliseconds of a steady clock. */
  now(): number {
    return performance.now();
  }

  #round(timeoutMs: number): void {
    const before = this.now();
    const count = this.epoll.wait(timeoutMs);
    const now = this.now();
    this.#busyness.waited(before, now);
    for (let i = 0; i < count; i++) {
      const handler = this.#handlers[this.epoll.readyFd(i)];
      if (handler === undefined) continue;
      if (!handler.queues) this.forwarder.flush();
      handler.ready(now);
    }
    this.forwarder.flush();
    this.forwarder.expire(now);
  }

  #timeoutMs(): number {
    const deadline = this.forwarder.nextDeadline();
    if (deadline === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.ceil(deadline - this.now()));
  }

  openSocket(tunnel: Tunnel): DatagramSocket {
    const family = tunnel.local.address.includes(":") ? AF_INET6 : AF_INET;
    const fd = openTunnelSocket(tunnel.encapsulation, tunnel.local);
    const hasOffload = this.#offload && tunnel.encapsulation === "UDP";
    if (hasOffload) joinReceived(fd);
    return new TunnelSocket(fd, family, hasOffload && canSegment(fd));
  }

  startEndpoint(endpoint: LocalEndpoint): void {
    this.#watchOrClose((endpoint.socket as TunnelSocket).fd, {
      queues: false,
      ready: (now) => this.forwarder.readEndpoint(endpoint, now),
    });
  }

  stopEndpoint(endpoint: LocalEndpoint): void {
    const { fd } = endpoint.socket as TunnelSocket;
    this.unwatch(fd);
    closeFd(fd);
  }

  allowZeroChecksum(socket: DatagramSocket, allowed: boolean): void {
    const { fd, family } = socket as TunnelSocket;
    if (family === AF_INET6) setReceiveZeroChecksum(fd, allowed);
  }

  openDevice({ netns, name }: DevicePlace): FrameDevice {
    if (!this.#offload) return new TapDevice(openTap(netns, name, "none").fd, "none");
    const { fd, hasUdp } = openTap(netns, name, "all");
    return new TapDevice(fd, hasUdp ? "all" : "TCP");
  }

  startDevice(session: SessionState, device: FrameDevice): void {
    this.#watchOrClose((device as TapDevice).fd, {
      queues: true,
      ready: () => {
        if (!this.forwarder.readDevice(session)) this.table.loseDevice(session);
      },
    });
  }

  stopDevice(device: FrameDevice): void {
    const { fd } = device as TapDevice;
    this.unwatch(fd);
    closeFd(fd);
  }
}

/** Null where the kernel has no io_uring, or a container's seccomp profile does not permit it. */
function createBatch(arena: Arena, log: LoopOptions["log"]): FrameBatch | null {
  const without = (why: string) =>
    log(`no io_uring (${why}): devices read and write frames one by one`);
  try {
    const uring = new Uring(BATCH_FRAMES);
    return new KernelFrameBatch(arena, uring, (errno) => without(errnoName(errno)));
  } catch (error) {
    without(error instanceof Error ? error.message : String(error));
    return null;
  }
}
