/** All that one thread has: tunnels, the packet path between their sockets and devices, and the loop that serves it. */

import { EPOLLIN } from "../../../linux/epoll.ts";
import { errnoName, isErrno } from "../../../linux/errno.ts";
import { closeFd } from "../../../linux/fd.ts";
import {
  AF_INET,
  AF_INET6,
  canSegment,
  joinReceived,
  openTunnelSocket,
  setReceiveZeroChecksum,
  setTransmitChecksum,
} from "../../../linux/socket.ts";
import { deleteTap, openTap, setCarrier, type Tap } from "../../../linux/tun.ts";
import { Uring } from "../../../linux/uring.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { type Reply, toWireError } from "../../../rpc/errors.ts";
import type { Change, DevicePlace, Listing } from "../../datapath.ts";
import { KernelFrameBatch, PairDevice, TapDevice, TunnelSocket } from "../devices/kernel-ports.ts";
import { FastPath, wantsFastPath } from "../fastpath/fast-path.ts";
import { removeAt } from "../fastpath/pair.ts";
import type { Arena } from "../packet/arena.ts";
import { Forwarder } from "../packet/forward.ts";
import {
  BATCH_FRAMES,
  type DatagramSocket,
  type FrameBatch,
  type FrameDevice,
} from "../packet/ports.ts";
import type { SessionState } from "../packet/session.ts";
import { type Moving, type Ports, Table } from "../packet/table.ts";
import type { LocalEndpoint } from "../packet/tunnel.ts";
import { ControlPlane } from "../signalling/control-plane.ts";
import { listing } from "./listing.ts";
import { type Batches, Loop } from "./loop.ts";
import { type Share, steer } from "./shards/steering.ts";
import { socketOwner } from "./socket-owners.ts";

/** What the control socket serves: one shard, or several as one. */
export interface Served {
  apply(change: Change): Reply<null>;
  /** @param sessions keys of those to list; undefined: all, and all tunnels */
  list(sessions?: readonly string[]): Listing;
  /** How often control connections have changed so far. */
  readonly turns: number;
  /** The process ends. */
  stop(): void;
}

export interface ShardOptions {
  /** Large frames and messages, which devices and kernel cut and join. */
  readonly offload: boolean;
  /** Frames of tunnels that ask for it pass by BPF programs. */
  readonly fastPath: boolean;
  log(line: string): void;
}

export class Shard implements Ports, Batches, Served {
  readonly loop: Loop;
  readonly table: Table;
  readonly #forwarder: Forwarder;
  readonly #control: ControlPlane;
  readonly #offload: boolean;
  readonly #share: Share | null;
  /** undefined: nobody has asked for it yet; null: there is none. */
  #fastPath: FastPath | null | undefined;
  readonly #log: ShardOptions["log"];

  /** @param share null: there is no other */
  constructor({ offload, fastPath, log }: ShardOptions, share: Share | null = null) {
    this.#offload = offload;
    this.#share = share;
    this.#forwarder = new Forwarder({
      joinRefused: ({ config }, errno) =>
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
    this.#fastPath = fastPath && share === null ? undefined : null;
    this.#log = log;
    this.table = new Table(this, this.#forwarder);
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

  list(sessions?: readonly string[]): Listing {
    const listed = listing(this.table, this.loop.now(), sessions);
    return {
      tunnels: listed.tunnels.map((state) => this.#control.describeTunnel(state)),
      sessions: listed.sessions.map((state) => this.#control.describeSession(state)),
      turns: this.turns,
    };
  }

  get turns(): number {
    return this.#control.turns;
  }

  /** Takes sessions out, for another shard. */
  handOver(keys: readonly string[]): Moving[] {
    for (const key of keys) this.#control.forgetSession(key);
    return this.table.handOver(keys);
  }

  /** Ends the loop, and says farewell to peers. */
  stop(): void {
    this.#control.close();
    // Pods are to see that nobody carries their frames now.
    for (const { device } of this.table.sessions.values()) {
      if (device instanceof PairDevice) this.#fastPath?.close(device.fast);
    }
    this.loop.stop();
  }

  flush(): void {
    this.#forwarder.flush();
  }

  expire(now: number): void {
    this.#forwarder.expire(now);
    this.#control.poll(now);
    this.#fastPath?.poll(now, this.#lose);
  }

  nextDeadline(): number {
    const due = this.#fastPath?.deadline ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#forwarder.nextDeadline(), this.#control.deadline(), due);
  }

  openSocket(tunnel: Tunnel): DatagramSocket {
    const family = tunnel.local.address.includes(":") ? AF_INET6 : AF_INET;
    const { encapsulation, local } = tunnel;
    if (tunnel.socketOwner !== undefined) {
      const on = tunnel.udpChecksum;
      const open = socketOwner(tunnel.socketOwner);
      const fd = open(tunnel, (socket) => setTransmitChecksum(socket, family, on));
      return new TunnelSocket(fd, family, false);
    }
    const share = this.#share;
    // Nobody is to share the port but our own: where somebody has it, this fails.
    if (share?.index === 0) closeFd(openTunnelSocket(encapsulation, local));
    const fd = openTunnelSocket(encapsulation, local, (unbound) => {
      if (share !== null) steer(unbound, encapsulation, family, share);
    });
    const hasOffload = this.#offload && encapsulation === "UDP";
    if (hasOffload) joinReceived(fd);
    return new TunnelSocket(fd, family, hasOffload && canSegment(fd));
  }

  startEndpoint(endpoint: LocalEndpoint): void {
    this.loop.watchOrClose((endpoint.socket as TunnelSocket).fd, {
      queues: false,
      account: endpoint.account,
      ready: (now) => this.#forwarder.readEndpoint(endpoint, now),
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
    const joins = ({ hasUdp }: Tap) => (this.#offload ? (hasUdp ? "all" : "TCP") : "none");
    const fast = this.#fastPathFor(config, tunnel)?.open(session, config, tunnel, place, offload);
    if (fast) return new PairDevice(fast, joins(fast.tap));
    const tap = openTapInstead(place, config.key, () => openTap(place.netns, place.name, offload));
    return new TapDevice(tap.fd, tap.index, joins(tap));
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
      if (!this.#forwarder.readDevice(session)) this.table.loseDevice(session);
    };
    try {
      const { account } = session;
      this.loop.watchOrClose((device as TapDevice).fd, { queues: true, account, ready });
    } catch (error) {
      if (device instanceof PairDevice) this.#fastPath?.close(device.fast);
      throw error;
    }
  }

  readonly #lose = (key: string) => {
    const session = this.table.sessions.get(key);
    if (session !== undefined) this.table.loseDevice(session);
  };

  settleSession(session: SessionState): void {
    const { device } = session;
    this.#fastPath?.settle(session, device instanceof PairDevice ? device.fast : null);
  }

  forgetSession(session: SessionState): void {
    this.#fastPath?.forget(session);
  }

  setCarrier(device: FrameDevice, on: boolean): void {
    if (device instanceof PairDevice) this.#fastPath?.setCarrier(device.fast, on);
    else setCarrier((device as TapDevice).fd, on);
  }

  pauseDevice(device: FrameDevice): void {
    this.loop.unwatch((device as TapDevice).fd);
  }

  deleteDevice(device: FrameDevice): void {
    const { fd } = device as TapDevice;
    if (device instanceof PairDevice) this.#fastPath?.delete(device.fast);
    this.loop.unwatch(fd);
    deleteTap(fd);
  }

  stopDevice(device: FrameDevice): void {
    if (device instanceof PairDevice) this.#fastPath?.close(device.fast);
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
function openFastPath(log: ShardOptions["log"]): FastPath | null {
  try {
    return new FastPath(log);
  } catch (error) {
    log(`no fast path (${(error as Error).message}): all frames pass through this process`);
    return null;
  }
}

/** Null where the kernel has no io_uring, or a container's seccomp profile does not permit it. */
function createBatch(arena: Arena, log: ShardOptions["log"]): FrameBatch | null {
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
