/** The programs in the kernel, their maps, and which sessions are in them. */
import type { SessionRx, SessionTx } from "../../l2tp/codec.ts";
import type { Session, Tunnel } from "../../l2tp/model.ts";
import type { DevicePlace } from "../datapath.ts";
import { listLinks, setLink } from "../netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../netlink/socket.ts";
import { attachIngress, BpfMap, loadProgram } from "../sys/bpf.ts";
import { closeFd } from "../sys/fd.ts";
import type { DeviceOffload } from "../sys/tun.ts";
import {
  ARRIVAL,
  ARRIVAL_KEY,
  arrivalKey,
  encapsulationHeader,
  encodeArrival,
  encodePort,
  familyOf,
  PORT,
  passOn,
  portKey,
} from "./layout.ts";
import { openPair, type Pair, setPairCarrier } from "./pair.ts";
import { fromPort, fromWire } from "./programs.ts";
import { type FastCounters, Slots } from "./slots.ts";
import { type Egress, Underlay } from "./underlay.ts";

/** More go by the process. */
const MAX_SESSIONS = 16_384;
/** Links and routes of a node may change all the time. */
const CHECK_INTERVAL_MS = 1000;
/** RTMGRP_* of links, addresses and routes. */
const CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/** A pair in use. */
export interface FastDevice extends Pair {
  /** What holds the programs at its links. */
  readonly holds: readonly number[];
}

/** What is to be known of a session; and where its part in the fast path is kept. */
export interface Passing {
  readonly config: Session;
  readonly tunnel: { readonly config: Tunnel };
  readonly tx: SessionTx;
  readonly rx: SessionRx;
  /** Where received sequence numbers count. */
  readonly order: object | null;
  readonly maxFrameBytes: number;
  fast: FastSession | null;
}

/** A session's part in the fast path, for as long as there is the session. */
export class FastSession {
  readonly slot: number;
  readonly #slots: Slots;
  /** By which way its frames go; null: by the process. */
  way: Egress | null = null;
  device: FastDevice | null = null;
  arrival: Uint8Array | null = null;

  constructor(slots: Slots, slot: number) {
    this.#slots = slots;
    this.slot = slot;
  }

  get isActive(): boolean {
    return this.way !== null;
  }

  get counters(): FastCounters {
    return this.#slots.read(this.slot);
  }
}

/** Whether frames of such a session need nothing that programs cannot do. */
export function wantsFastPath({ tunnel, tx, order }: Passing): boolean {
  return tunnel.config.fastPath && !tx.sequencing && order === null;
}

export class FastPath {
  /** Readable when links or routes of the node have changed; then `hear`. */
  readonly fd: number;
  readonly #node = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #monitor = new NetlinkSocket(NETLINK_ROUTE, null, CHANGES);
  readonly #ports = new BpfMap("l2tp_ports", PORT.keyBytes, PORT.bytes, 2 * MAX_SESSIONS);
  readonly #arrivals = new BpfMap("l2tp_arrivals", ARRIVAL_KEY.bytes, ARRIVAL.bytes, MAX_SESSIONS);
  readonly #slots = new Slots(MAX_SESSIONS);
  readonly #fromPort: number;
  readonly #underlay: Underlay;
  readonly #log: (line: string) => void;
  readonly #sessions = new Set<Passing>();
  /** Whose datagrams an entry takes, by its key. */
  readonly #owners = new Map<string, Passing>();
  #checkedMs = Number.NEGATIVE_INFINITY;
  #dueMs = Number.POSITIVE_INFINITY;

  /** @throws SystemError, where the kernel or a missing capability does not allow it */
  constructor(log: (line: string) => void) {
    this.#log = log;
    this.fd = this.#monitor.fd;
    const maps = {
      ports: this.#ports.fd,
      arrivals: this.#arrivals.fd,
      counters: this.#slots.fd,
    };
    this.#fromPort = loadProgram("l2tp_from_port", fromPort(maps));
    const wire = loadProgram("l2tp_from_wire", fromWire(maps));
    // Only here is known whether the kernel has tcx.
    this.#requireTcx(wire);
    this.#underlay = new Underlay(this.#node, wire, log);
  }

  /**
   * The session's pair at the place; made where nothing stands, if the session can be on the fast path.
   * @returns null: it has to be a TAP device @throws SystemError
   */
  open(session: Passing, place: DevicePlace, offload: DeviceOffload): FastDevice | null {
    const isWanted = wantsFastPath(session);
    const pair = openPair(this.#node, session.config, place, isWanted, offload);
    if (pair === null) return null;
    const { nodeEnd, tapIndex } = pair;
    const holds: number[] = [];
    const device: FastDevice = { ...pair, holds };
    try {
      this.#ports.set(portKey(nodeEnd), passOn(tapIndex));
      this.#ports.set(portKey(tapIndex), passOn(nodeEnd));
      for (const index of [nodeEnd, tapIndex]) holds.push(attachIngress(this.#fromPort, index));
      for (const index of [tapIndex, nodeEnd]) setLink(this.#node, index, { up: true });
      return device;
    } catch (error) {
      this.close(device);
      closeFd(pair.tap.fd);
      throw error;
    }
  }

  /** Its TAP device's descriptor is the caller's; the pod's end stays, without a carrier. */
  close(device: FastDevice): void {
    this.setCarrier(device, false);
    for (const hold of device.holds) closeFd(hold);
    for (const index of [device.nodeEnd, device.tapIndex]) this.#ports.delete(portKey(index));
  }

  setCarrier(device: FastDevice, on: boolean): void {
    setPairCarrier(this.#node, device, on);
  }

  /** The session, its tunnel or its device is as it is from now on. */
  settle(session: Passing, device: FastDevice | null): void {
    let fast = session.fast;
    if (device === null && fast === null) return;
    fast ??= this.#join(session);
    if (fast === null) return;
    this.#withdraw(session, fast);
    fast.device = device;
    if (device !== null) this.#program(session, fast, device);
  }

  /** The session is no more. */
  forget(session: Passing): void {
    const { fast } = session;
    if (fast === null) return;
    this.#withdraw(session, fast);
    this.#sessions.delete(session);
    this.#slots.giveBack(fast.slot);
    session.fast = null;
  }

  /** @param lost is called with the key of each session whose device has gone */
  hear(now: number, lost: (key: string) => void): void {
    while (this.#monitor.drain());
    this.#dueMs = Math.max(this.#checkedMs + CHECK_INTERVAL_MS, now);
    this.poll(now, lost);
  }

  poll(now: number, lost: (key: string) => void): void {
    if (now < this.#dueMs) return;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#checkedMs = now;
    const links = new Set(listLinks(this.#node).map(({ index }) => index));
    this.#underlay.forget(links);
    for (const session of this.#sessions) {
      const { fast } = session;
      if (fast === null || fast.device === null) continue;
      if (!links.has(fast.device.nodeEnd)) lost(session.config.key);
      else if (!isSame(fast.way, this.#wayOf(session))) this.settle(session, fast.device);
    }
  }

  /** When `poll` has something to do. */
  get deadline(): number {
    return this.#dueMs;
  }

  #requireTcx(program: number): void {
    const LOOPBACK = 1;
    closeFd(attachIngress(program, LOOPBACK));
  }

  #join(session: Passing): FastSession | null {
    const slot = this.#slots.take();
    if (slot === undefined) {
      this.#log(`session ${session.config.key}: no fast path, there are ${MAX_SESSIONS} on it`);
      return null;
    }
    session.fast = new FastSession(this.#slots, slot);
    this.#sessions.add(session);
    return session.fast;
  }

  #wayOf(session: Passing): Egress | null {
    const { config, tx, tunnel } = session;
    // Nobody is there to send to, yet or any more.
    if (config.sessionId === 0 || tx.sessionId === 0) return null;
    return wantsFastPath(session) ? this.#underlay.egress(tunnel.config) : null;
  }

  #program(session: Passing, fast: FastSession, device: FastDevice): void {
    const way = this.#wayOf(session);
    fast.way = way;
    const { nodeEnd, tapIndex } = device;
    if (way === null) return this.#ports.set(portKey(nodeEnd), passOn(tapIndex));
    const { config, tx, rx, maxFrameBytes } = session;
    const { local, remote } = session.tunnel.config;
    const header = encapsulationHeader(local, remote, tx);
    const fitting = Math.min(maxFrameBytes, way.mtu - header.length);
    const { slot } = fast;
    const port = { other: tapIndex, egress: way.ifindex, slot, maxFrame: fitting, header };
    this.#ports.set(portKey(nodeEnd), encodePort(port));
    fast.arrival = arrivalKey(local, remote, config.sessionId);
    const family = familyOf(remote);
    const arrival = { device: nodeEnd, slot, maxFrame: maxFrameBytes, family, rx };
    this.#arrivals.set(fast.arrival, encodeArrival(arrival));
    this.#owners.set(nameOf(fast.arrival), session);
  }

  /** What comes for it goes to the socket; what it sends goes on as it did. */
  #withdraw(session: Passing, fast: FastSession): void {
    if (fast.arrival === null) return;
    const name = nameOf(fast.arrival);
    if (this.#owners.get(name) === session) {
      this.#arrivals.delete(fast.arrival);
      this.#owners.delete(name);
    }
    fast.arrival = null;
    fast.way = null;
  }
}

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString("latin1");

function isSame(one: Egress | null, other: Egress | null): boolean {
  return one?.ifindex === other?.ifindex && one?.mtu === other?.mtu;
}
