/** The datapath process: tunnels, the packet path between their sockets and devices, and the loop. */

import { EPOLLIN } from "../../../linux/epoll.ts";
import { Errno, errnoName, isErrno } from "../../../linux/errno.ts";
import { openPrefixSocket } from "../../../linux/prefix-socket.ts";
import {
  AF_INET,
  AF_INET6,
  canSegment,
  joinReceived,
  reportTrafficClass,
  setReceiveZeroChecksum,
  setTrafficClass,
  setTransmitChecksum,
} from "../../../linux/socket.ts";
import { deleteTap, openTap, setCarrier, type Tap } from "../../../linux/tun.ts";
import { Uring } from "../../../linux/uring.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import { type Reply, toWireError } from "../../../rpc/errors.ts";
import type { Change, DevicePlace, Listing } from "../../datapath.ts";
import { asEarlierAgentPut, withSocketOwner } from "../../managed-kernel/earlier-agent.ts";
import { PathMtus } from "../../path-mtus.ts";
import { IPPROTO_L2TP, openTunnelSocket } from "../../tunnel-socket.ts";
import { ControlSocket } from "../devices/control-socket.ts";
import { KernelFrameBatch, TapDevice, TunnelSocket } from "../devices/kernel-ports.ts";
import type { Arena } from "../packet/arena.ts";
import type { BypassDevices, BypassedFrames, BypassKind } from "../packet/bypass.ts";
import { createPacketPath, type PacketPath } from "../packet/packet-path.ts";
import {
  BATCH_FRAMES,
  type DatagramSocket,
  type FrameBatch,
  type FrameDevice,
} from "../packet/ports.ts";
import type { ControlReceiver } from "../packet/receive.ts";
import type { LocalEndpoint, PacketSession } from "../packet/session.ts";
import { ChangeError, type Ports, Table } from "../packet/table.ts";
import { ControlPlane } from "../signalling/control-plane.ts";
import { ControlSockets } from "./control-sockets.ts";
import { listing } from "./listing.ts";
import { type Batches, Loop } from "./loop.ts";
import { socketOwner } from "./socket-owners.ts";

export interface DatapathOptions {
  /** True: use large frames and messages (GSO, GRO). */
  readonly offload: boolean;
  /** The kind of bypass for frames. */
  readonly bypass: BypassKind;
  readonly allowsBypass: boolean;
  log(line: string): void;
}

export class DatapathProcess implements Ports, Batches {
  readonly loop: Loop;
  readonly table: Table;
  readonly #path: PacketPath;
  readonly #pathMtus = new PathMtus();
  readonly #control: ControlPlane;
  readonly #controlSockets: ControlSockets;
  readonly #offload: boolean;
  readonly #bypassKind: BypassKind;
  /** undefined: no session has requested a bypass yet; null: no bypass is available. */
  #bypass: BypassDevices | null | undefined;
  readonly #log: DatapathOptions["log"];

  constructor({ offload, bypass, allowsBypass, log }: DatapathOptions) {
    this.#offload = offload;
    const control: ControlReceiver = (endpoint, sockaddr, memory, at, end, now) =>
      this.#control.receive(endpoint, sockaddr, memory, at, end, now);
    this.#path = createPacketPath({
      gsoRefused: ({ config }, errno) =>
        log(
          `session ${config.key}: device rejects GSO (${errnoName(errno)}); sending frames individually`,
        ),
      segmentRefused: ({ config }, segmentBytes, errno) =>
        log(
          `tunnel ${config.name}: ${whyNotSegmented(segmentBytes, errno)}; sending such datagrams individually`,
        ),
      control,
      createBatch: (arena) => (offload ? createBatch(arena, log) : null),
    });
    this.loop = new Loop(this);
    this.#bypassKind = bypass;
    this.#bypass = allowsBypass ? undefined : null;
    this.#log = log;
    this.table = new Table(this, this.#path);
    this.#controlSockets = new ControlSockets(this.loop, control, log);
    const now = () => this.loop.now();
    this.#control = new ControlPlane(this.table, now, log, this.#controlSockets);
  }

  apply(change: Change): Reply<null> {
    try {
      this.#control.apply(
        change.op === "putTunnel" ? { ...change, tunnel: withSocketOwner(change.tunnel) } : change,
      );
      return { result: null };
    } catch (error) {
      return { error: toWireError(error) };
    }
  }

  /** @param sessions keys of the sessions to list; undefined: all sessions and tunnels */
  list(sessions?: readonly string[]): Listing {
    const listed = listing(this.table, this.loop.now(), sessions);
    return {
      tunnels: listed.tunnels.map((state) => {
        const described = this.#control.describeTunnel(state);
        return { ...described, tunnel: asEarlierAgentPut(described.tunnel) };
      }),
      sessions: listed.sessions.map((state) => this.#control.describeSession(state)),
      turns: this.turns,
    };
  }

  /** The number of changes of control connections so far. */
  get turns(): number {
    return this.#control.turns;
  }

  /** Closes all control connections, and stops the loop. */
  stop(): void {
    this.#control.close();
    // Clear the carriers: pods must see that their frames are not forwarded now.
    for (const { device } of this.table.sessions.values()) {
      this.#bypass?.close(device);
    }
    this.loop.stop();
  }

  flush(): void {
    this.#path.queue.flush();
  }

  expire(now: number): void {
    this.#path.receiver.expire(now);
    this.#control.poll(now);
    this.#bypass?.poll(now, this.#lose);
  }

  nextDeadline(): number {
    const due = this.#bypass?.deadline ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#path.receiver.nextDeadline(), this.#control.deadline(), due);
  }

  openSocket(tunnel: Tunnel): DatagramSocket {
    const family = tunnel.local.address.includes(":") ? AF_INET6 : AF_INET;
    const { encapsulation, local, device, localPrefix } = tunnel;
    if (tunnel.socketOwner !== undefined) return givenSocket(tunnel, tunnel.socketOwner, family);
    const fd =
      localPrefix === undefined
        ? openTunnelSocket(encapsulation, local, device?.index)
        : openPrefixSocket(IPPROTO_L2TP, localPrefix, device?.index);
    this.#pathMtus.serve(tunnel);
    const hasOffload = this.#offload && encapsulation === "UDP";
    if (hasOffload) joinReceived(fd);
    return new TunnelSocket(fd, family, hasOffload && canSegment(fd));
  }

  startEndpoint(endpoint: LocalEndpoint): void {
    const { socket } = endpoint;
    if (socket instanceof ControlSocket) return this.#controlSockets.start(endpoint, socket);
    this.loop.watchOrClose((endpoint.socket as TunnelSocket).fd, {
      queues: false,
      account: endpoint.account,
      ready: (now) => this.#path.receiver.readEndpoint(endpoint, now),
    });
  }

  stopEndpoint(endpoint: LocalEndpoint): void {
    if (endpoint.socket instanceof ControlSocket) return this.#controlSockets.stop(endpoint);
    this.loop.unwatchAndClose((endpoint.socket as TunnelSocket).fd);
  }

  allowZeroChecksum(socket: DatagramSocket, allowed: boolean): void {
    const { fd, family } = socket as TunnelSocket;
    if (family === AF_INET6) setReceiveZeroChecksum(fd, allowed);
  }

  reportTrafficClass(socket: DatagramSocket): void {
    const { fd, family } = socket as TunnelSocket;
    reportTrafficClass(fd, family);
  }

  openDevice(
    session: PacketSession,
    config: Session,
    tunnel: Tunnel,
    place: DevicePlace,
  ): FrameDevice {
    const { device: kind, hasOffloads, name } = pseudowireOf(config);
    if (kind === null) throw new ChangeError("NoDevice", `${name}: sessions have no devices`);
    const isJoined = this.#offload && hasOffloads;
    const offload = isJoined ? "all" : "none";
    const acceptedGso = ({ hasUdp }: Tap) => (isJoined ? (hasUdp ? "all" : "TCP") : "none");
    const bypass = this.#bypassFor(config, tunnel);
    const bypassing = bypass?.open(session, config, tunnel, place, offload, acceptedGso);
    if (bypassing) return bypassing;
    const open = () => openTap(place.netns, place.name, offload, true, kind.kind);
    const tap = this.#openTapInstead(place, config.key, open);
    return new TapDevice(tap.fd, tap.index, acceptedGso(tap));
  }

  /** Returns the bypass. Starts it for the first session that can use it. */
  #bypassFor(config: Session, tunnel: Tunnel): BypassDevices | null {
    if (this.#bypass === undefined && this.#bypassKind.isFor(config, tunnel)) {
      this.#bypass = this.#bypassKind.start(this.#log);
      if (this.#bypass !== null) this.#watch(this.#bypass);
    }
    return this.#bypass ?? null;
  }

  #watch(bypass: BypassDevices): void {
    const ready = (now: number) => bypass.hear(now, this.#lose);
    for (const fd of bypass.fds) this.loop.watch(fd, EPOLLIN, { queues: false, ready });
  }

  /** Opens a TAP device in place of a bypassing one that lost its other end; the agent configures it again. */
  #openTapInstead(place: DevicePlace, key: string, open: () => Tap): Tap {
    try {
      return open();
    } catch (error) {
      if (!isErrno(error, "EINVAL") || !this.#bypassKind.removeAt(place, key)) throw error;
      return open();
    }
  }

  startDevice(session: PacketSession, device: FrameDevice): void {
    const ready = () => {
      if (!this.#path.transmitter.readDevice(session)) this.table.loseDevice(session);
    };
    try {
      const { account } = session;
      this.loop.watchOrClose((device as TapDevice).fd, { queues: true, account, ready });
    } catch (error) {
      this.#bypass?.close(device);
      throw error;
    }
  }

  readonly #lose = (key: string) => {
    const session = this.table.sessions.get(key);
    if (session !== undefined) this.table.loseDevice(session);
  };

  settleSession(session: PacketSession): void {
    this.#bypass?.settle(session, session.device);
  }

  forgetSession(session: PacketSession): void {
    this.#bypass?.forget(session);
  }

  bypassedFrames(session: PacketSession): BypassedFrames | null {
    return this.#bypass?.framesOf(session) ?? null;
  }

  setCarrier(device: FrameDevice, on: boolean): void {
    if (this.#bypass?.setCarrier(device, on) === true) return;
    setCarrier((device as TapDevice).fd, on);
  }

  deleteDevice(device: FrameDevice): void {
    const { fd } = device as TapDevice;
    this.#bypass?.delete(device);
    this.loop.unwatch(fd);
    deleteTap(fd);
  }

  stopDevice(device: FrameDevice): void {
    this.#bypass?.close(device);
    this.loop.unwatchAndClose((device as TapDevice).fd);
  }
}

/** Opens a socket for another datapath. */
function givenSocket(tunnel: Tunnel, owner: string, family: number): DatagramSocket {
  const { encapsulation, local, remote, udpChecksum, dscp } = tunnel;
  const open = socketOwner(owner);
  const classify = (fd: number) => {
    if (typeof dscp === "number") setTrafficClass(fd, family, dscp << 2);
  };
  if (encapsulation === "IP") {
    const fd = open(tunnel, classify);
    return new ControlSocket(fd, local.address, remote.address);
  }
  const fd = open(tunnel, (socket) => {
    setTransmitChecksum(socket, family, udpChecksum);
    classify(socket);
  });
  return new TunnelSocket(fd, family, false);
}

/** Returns why the kernel does not segment a message into datagrams (udp_send_skb). */
function whyNotSegmented(segmentBytes: number, errno: number): string {
  return errno === Errno.EIO
    ? "the egress device computes no checksums (EIO)"
    : `datagrams of ${segmentBytes} bytes exceed the path MTU and are fragmented (${errnoName(errno)})`;
}

/** Returns null if the kernel has no io_uring, or a container's seccomp profile forbids it. */
function createBatch(arena: Arena, log: DatapathOptions["log"]): FrameBatch | null {
  const without = (why: string) =>
    log(`io_uring unavailable (${why}): reading and writing frames individually`);
  try {
    const uring = new Uring(BATCH_FRAMES);
    return new KernelFrameBatch(arena, uring, (errno) => without(errnoName(errno)));
  } catch (error) {
    without(error instanceof Error ? error.message : String(error));
    return null;
  }
}
