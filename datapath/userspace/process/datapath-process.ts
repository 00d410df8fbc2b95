/** The process: tunnels, the packet path between their sockets and devices, and the loop that serves it. */

import { EPOLLIN } from "../../../linux/epoll.ts";
import { errnoName, isErrno } from "../../../linux/errno.ts";
import {
  AF_INET,
  AF_INET6,
  canSegment,
  joinReceived,
  setReceiveZeroChecksum,
  setTransmitChecksum,
} from "../../../linux/socket.ts";
import { deleteTap, openTap, setCarrier, type Tap } from "../../../linux/tun.ts";
import { Uring } from "../../../linux/uring.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { type Reply, toWireError } from "../../../rpc/errors.ts";
import type { Change, DevicePlace, Listing } from "../../datapath.ts";
import { openHandedOver } from "../../kernel/hand-over.ts";
import { openTunnelSocket } from "../../tunnel-socket.ts";
import { KernelFrameBatch, TapDevice, TunnelSocket } from "../devices/kernel-ports.ts";
import { FastPath, wantsFastPath } from "../fastpath/fast-path.ts";
import { removeAt } from "../fastpath/pair.ts";
import type { Arena } from "../packet/arena.ts";
import { createPacketPath, type PacketPath } from "../packet/packet-path.ts";
import {
  BATCH_FRAMES,
  type Bypass,
  type DatagramSocket,
  type FrameBatch,
  type FrameDevice,
} from "../packet/ports.ts";
import type { LocalEndpoint, SessionState } from "../packet/session.ts";
import { type Ports, Table } from "../packet/table.ts";
import { ControlPlane } from "../signalling/control-plane.ts";
import { listing } from "./listing.ts";
import { type Batches, Loop } from "./loop.ts";

export interface DatapathOptions {
  /** Large frames and messages, which devices and kernel cut and join. */
  readonly offload: boolean;
  /** Frames of tunnels that ask for it pass by BPF programs. */
  readonly fastPath: boolean;
  log(line: string): void;
}

export class DatapathProcess implements Ports, Batches {
  readonly loop: Loop;
  readonly table: Table;
  readonly #path: PacketPath;
  readonly #control: ControlPlane;
  readonly #offload: boolean;
  /** undefined: nobody has asked for it yet; null: there is none. */
  #fastPath: FastPath | null | undefined;
  readonly #log: DatapathOptions["log"];

  constructor({ offload, fastPath, log }: DatapathOptions) {
    this.#offload = offload;
    this.#path = createPacketPath({
      gsoRefused: ({ config }, errno) =>
        log(
          `session ${config.key}: its device takes no large frames (${errnoName(errno)}); all go one by one from now on`,
        ),
      segmentRefused: ({ config }, segmentBytes, errno) =>
        log(
          `tunnel ${config.name}: the kernel does not cut messages into datagrams of ${segmentBytes} bytes (${errnoName(errno)}); such go one by one from now on`,
        ),
      control: (endpoint, sockaddr, memory, at, end, now) =>
        this.#control.receive(endpoint, sockaddr, memory, at, end, now),
      createBatch: (arena) => (offload ? createBatch(arena, log) : null),
    });
    this.loop = new Loop(this);
    this.#fastPath = fastPath ? undefined : null;
    this.#log = log;
    this.table = new Table(this, this.#path);
    this.#control = new ControlPlane(this.table, () => this.loop.now(), log);
  }

  apply(change: Change): Reply<null> {
    try {
      this.#control.apply(change);
      return { result: null };
    } catch (error) {
      return { error: toWireError(error) };
    }
  }

  /** @param sessions keys of those to list; undefined: all, and all tunnels */
  list(sessions?: readonly string[]): Listing {
    const listed = listing(this.table, this.loop.now(), sessions);
    return {
      tunnels: listed.tunnels.map((state) => this.#control.describeTunnel(state)),
      sessions: listed.sessions.map((state) => this.#control.describeSession(state)),
      turns: this.turns,
    };
  }

  /** How often control connections have changed so far. */
  get turns(): number {
    return this.#control.turns;
  }

  /** Ends the loop, and says farewell to peers. */
  stop(): void {
    this.#control.close();
    // Pods are to see that nobody carries their frames now.
    for (const { device } of this.table.sessions.values()) {
      this.#fastPath?.close(device);
    }
    this.loop.stop();
  }

  flush(): void {
    this.#path.queue.flush();
  }

  expire(now: number): void {
    this.#path.receiver.expire(now);
    this.#control.poll(now);
    this.#fastPath?.poll(now, this.#lose);
  }

  nextDeadline(): number {
    const due = this.#fastPath?.deadline ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#path.receiver.nextDeadline(), this.#control.deadline(), due);
  }

  openSocket(tunnel: Tunnel): DatagramSocket {
    const family = tunnel.local.address.includes(":") ? AF_INET6 : AF_INET;
    const { encapsulation, local } = tunnel;
    if (tunnel.handsOver) {
      const on = tunnel.udpChecksum;
      const fd = openHandedOver(tunnel, (socket) => setTransmitChecksum(socket, family, on));
      return new TunnelSocket(fd, family, false);
    }
    const fd = openTunnelSocket(encapsulation, local);
    const hasOffload = this.#offload && encapsulation === "UDP";
    if (hasOffload) joinReceived(fd);
    return new TunnelSocket(fd, family, hasOffload && canSegment(fd));
  }

  startEndpoint(endpoint: LocalEndpoint): void {
    this.loop.watchOrClose((endpoint.socket as TunnelSocket).fd, {
      queues: false,
      account: endpoint.account,
      ready: (now) => this.#path.receiver.readEndpoint(endpoint, now),
    });
  }

  stopEndpoint(endpoint: LocalEndpoint): void {
    this.loop.unwatchAndClose((endpoint.socket as TunnelSocket).fd);
  }

  allowZeroChecksum(socket: DatagramSocket, allowed: boolean): void {
    const { fd, family } = socket as TunnelSocket;
    if (family === AF_INET6) setReceiveZeroChecksum(fd, allowed);
  }

  openDevice(
    session: SessionState,
    config: Session,
    tunnel: Tunnel,
    place: DevicePlace,
  ): FrameDevice {
    const offload = this.#offload ? "all" : "none";
    const acceptedGso = ({ hasUdp }: Tap) => (this.#offload ? (hasUdp ? "all" : "TCP") : "none");
    const fastPath = this.#fastPathFor(config, tunnel);
    const paired = fastPath?.open(session, config, tunnel, place, offload, acceptedGso);
    if (paired) return paired;
    const tap = openTapInstead(place, config.key, () => openTap(place.netns, place.name, offload));
    return new TapDevice(tap.fd, tap.index, acceptedGso(tap));
  }

  /** It is opened for the first one that wants it. */
  #fastPathFor(config: Session, tunnel: Tunnel): FastPath | null {
    if (this.#fastPath === undefined && wantsFastPath(config, tunnel)) {
      this.#fastPath = openFastPath(this.#log);
      if (this.#fastPath !== null) this.#watch(this.#fastPath);
    }
    return this.#fastPath ?? null;
  }

  #watch(fast: FastPath): void {
    const ready = (now: number) => fast.hear(now, this.#lose);
    this.loop.watch(fast.fd, EPOLLIN, { queues: false, ready });
  }

  startDevice(session: SessionState, device: FrameDevice): void {
    const ready = () => {
      if (!this.#path.transmitter.readDevice(session)) this.table.loseDevice(session);
    };
    try {
      const { account } = session;
      this.loop.watchOrClose((device as TapDevice).fd, { queues: true, account, ready });
    } catch (error) {
      this.#fastPath?.close(device);
      throw error;
    }
  }

  readonly #lose = (key: string) => {
    const session = this.table.sessions.get(key);
    if (session !== undefined) this.table.loseDevice(session);
  };

  settleSession(session: SessionState): void {
    this.#fastPath?.settle(session, session.device);
  }

  forgetSession(session: SessionState): void {
    this.#fastPath?.forget(session);
  }

  bypassOf(session: SessionState): Bypass | null {
    return this.#fastPath?.bypassOf(session) ?? null;
  }

  setCarrier(device: FrameDevice, on: boolean): void {
    if (this.#fastPath?.setCarrier(device, on) === true) return;
    setCarrier((device as TapDevice).fd, on);
  }

  deleteDevice(device: FrameDevice): void {
    const { fd } = device as TapDevice;
    this.#fastPath?.delete(device);
    this.loop.unwatch(fd);
    deleteTap(fd);
  }

  stopDevice(device: FrameDevice): void {
    this.#fastPath?.close(device);
    this.loop.unwatchAndClose((device as TapDevice).fd);
  }
}

/** A TAP device where one of the fast path stands, whose other half is gone: the agent sets it up again. */
function openTapInstead(place: DevicePlace, key: string, open: () => Tap): Tap {
  try {
    return open();
  } catch (error) {
    if (!isErrno(error, "EINVAL") || !removeAt(place, key)) throw error;
    return open();
  }
}

/** Null where the kernel has no tcx (Linux 6.6), or the process must not load programs. */
function openFastPath(log: DatapathOptions["log"]): FastPath | null {
  try {
    return new FastPath(log);
  } catch (error) {
    log(`no fast path (${(error as Error).message}): all frames pass through this process`);
    return null;
  }
}

/** Null where the kernel has no io_uring, or a container's seccomp profile does not permit it. */
function createBatch(arena: Arena, log: DatapathOptions["log"]): FrameBatch | null {
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
