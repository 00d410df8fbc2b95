/** The programs in the kernel, their maps, and which sessions are in them. */
import type { SessionRx, SessionTx } from "../../../l2tp/codec.ts";
import { attachIngress, BpfMap, loadProgram } from "../../../linux/bpf.ts";
import { isErrno } from "../../../linux/errno.ts";
import { closeFd } from "../../../linux/fd.ts";
import { deleteLinkNow, listLinks, setLink } from "../../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../../linux/netlink/socket.ts";
import type { DeviceOffload } from "../../../linux/tun.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { DevicePlace } from "../../datapath.ts";
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
import { openPair, type Pair, type PairOptions, setPairCarrier } from "./pair.ts";
import { dropAll, fromPort, fromWire } from "./programs.ts";
import { type FastCounters, Slots } from "./slots.ts";
import { Underlay } from "./underlay.ts";

/** More go by the process. */
const MAX_SESSIONS = 16_384;
/** Links and routes of a node may change all the time. */
const CHECK_INTERVAL_MS = 1000;
/** What a router has told of a path's MTU nobody announces. */
const ROUTES_INTERVAL_MS = 30_000;
/** RTMGRP_* of links, addresses and routes. */
const CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const LOOPBACK = 1;

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
  readonly maxFrameBytes: number;
  /** Whether frames with its session id are its. */
  readonly isReceiving: boolean;
  readonly hasCarrier: boolean;
  fast: FastSession | null;
}

/** What is in the maps for a session. */
interface Entries {
  readonly port: Uint8Array;
  readonly key: Uint8Array;
  readonly arrival: Uint8Array;
}

/** A session's part in the fast path, for as long as there is the session. */
export class FastSession {
  readonly slot: number;
  readonly #slots: Slots;
  device: FastDevice | null = null;
  /** Null: its frames go by the process. */
  entries: Entries | null = null;

  constructor(slots: Slots, slot: number) {
    this.#slots = slots;
    this.slot = slot;
  }

  get isActive(): boolean {
    return this.entries !== null;
  }

  get counters(): FastCounters {
    return this.#slots.read(this.slot);
  }
}

/** Whether frames of such a session need nothing that programs cannot do. */
export function wantsFastPath(session: Session, { fastPath }: Tunnel): boolean {
  const { sequencing, l2SpecificSublayer, sourceMac } = session;
  const isNumbered = sequencing.send || (sequencing.receive && l2SpecificSublayer === "Default");
  if (!fastPath || isNumbered || sourceMac !== undefined) return false;
  return pseudowireOf(session).hasFastPath;
}

/** What of the kernel's it stands on. @throws SystemError, with nothing left behind */
function load() {
  const opened: number[] = [];
  const keep = <T extends { readonly fd: number }>(it: T): T => {
    opened.push(it.fd);
    return it;
  };
  const program = (name: string, code: Uint8Array) => keep({ fd: loadProgram(name, code) }).fd;
  try {
    const ports = keep(new BpfMap("l2tp_ports", PORT.keyBytes, PORT.bytes, 2 * MAX_SESSIONS));
    const arrivals = keep(
      new BpfMap("l2tp_arrivals", ARRIVAL_KEY.bytes, ARRIVAL.bytes, MAX_SESSIONS),
    );
    const slots = keep(new Slots(MAX_SESSIONS));
    const fds = { ports: ports.fd, arrivals: arrivals.fd, counters: slots.fd };
    const programs = {
      port: program("l2tp_from_port", fromPort(fds)),
      wire: program("l2tp_from_wire", fromWire(fds)),
      guard: program("l2tp_guard", dropAll()),
    };
    // Only here is known whether the kernel has tcx.
    closeFd(attachIngress(programs.wire, LOOPBACK));
    return { ports, arrivals, slots, programs };
  } catch (error) {
    for (const fd of opened) closeFd(fd);
    throw error;
  }
}

export class FastPath {
  /** Readable when links or routes of the node have changed; then `hear`. */
  readonly fd: number;
  readonly #loaded = load();
  readonly #node = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #monitor = new NetlinkSocket(NETLINK_ROUTE, null, CHANGES);
  readonly #underlay: Underlay;
  readonly #log: (line: string) => void;
  readonly #sessions = new Set<Passing>();
  /** Whose datagrams an entry takes, by its key. */
  readonly #owners = new Map<string, Passing>();
  #checkedMs = Number.NEGATIVE_INFINITY;
  #dueMs = Number.POSITIVE_INFINITY;

  /**
   * @param log is called with what goes wrong
   * @throws SystemError, where the kernel or a missing capability does not allow it
   */
  constructor(log: (line: string) => void) {
    this.#log = log;
    this.fd = this.#monitor.fd;
    this.#underlay = new Underlay(this.#node, this.#loaded.programs.wire, log);
  }

  /**
   * The session's pair at the place; made where nothing stands, if the session can be on the fast path.
   * @param session as it is to be
   * @returns null: it has to be a TAP device @throws SystemError
   */
  open(
    known: Passing,
    session: Session,
    tunnel: Tunnel,
    place: DevicePlace,
    offload: DeviceOffload,
  ): FastDevice | null {
    const isWanted = wantsFastPath(session, tunnel);
    if (known.fast === null && isWanted) known.fast = this.#join(known);
    if (known.fast === null) return null;
    const { guard, port } = this.#loaded.programs;
    const pair = this.#openPair(session, place, { isWanted, offload, guard });
    if (pair === null) return null;
    const { nodeEnd, tapIndex } = pair;
    const holds: number[] = [];
    const device: FastDevice = { ...pair, holds };
    try {
      const { ports } = this.#loaded;
      ports.set(portKey(nodeEnd), passOn(tapIndex));
      ports.set(portKey(tapIndex), passOn(nodeEnd));
      for (const index of [nodeEnd, tapIndex]) holds.push(attachIngress(port, index));
      for (const index of [tapIndex, nodeEnd]) setLink(this.#node, index, { up: true });
      return device;
    } catch (error) {
      this.close(device);
      closeFd(pair.tap.fd);
      throw error;
    }
  }

  #openPair(session: Session, place: DevicePlace, options: PairOptions): Pair | null {
    try {
      return openPair(this.#node, session, place, options);
    } catch (error) {
      // The kernel has no cls_bpf, or no veth.
      if (!isErrno(error, "ENOENT", "EOPNOTSUPP")) throw error;
      this.#log(`session ${session.key}: no fast path: ${messageOf(error)}`);
      return null;
    }
  }

  /** Its TAP device's descriptor is the caller's; the pod's end stays, without a carrier. */
  close(device: FastDevice): void {
    try {
      this.setCarrier(device, false);
    } catch (error) {
      this.#log(`the pair of link ${device.nodeEnd} keeps its carrier: ${messageOf(error)}`);
    }
    for (const hold of device.holds) closeFd(hold);
    const { ports } = this.#loaded;
    for (const index of [device.nodeEnd, device.tapIndex]) ports.delete(portKey(index));
  }

  /** As `close`, and deletes the pod's end, wherever it stands. */
  delete(device: FastDevice): void {
    this.close(device);
    try {
      deleteLinkNow(this.#node, device.nodeEnd);
    } catch (error) {
      // The pod has deleted its end, and the kernel this one with it.
      if (!isErrno(error, "ENODEV")) throw error;
    }
  }

  setCarrier(device: FastDevice, on: boolean): void {
    setPairCarrier(this.#node, device, on);
  }

  /** The session, its tunnel or its device is as it is from now on. */
  settle(session: Passing, device: FastDevice | null): void {
    const { fast } = session;
    if (fast === null) return;
    fast.device = device;
    const entries = device === null ? null : this.#entriesOf(session, fast, device);
    const before = fast.entries;
    // What stands is not written again: a program may just be reading it.
    if (isSame(before, entries)) return;
    try {
      const isElsewhere = entries === null || !areEqual(entries.key, before?.key);
      if (before !== null && isElsewhere) this.#withdraw(session, before);
      fast.entries = entries;
      if (device === null) return;
      const { ports, arrivals } = this.#loaded;
      ports.set(portKey(device.nodeEnd), entries?.port ?? passOn(device.tapIndex));
      if (entries === null) return;
      arrivals.set(entries.key, entries.arrival);
      this.#owners.set(nameOf(entries.key), session);
    } catch (error) {
      // The next check tries again; what comes meanwhile comes to the socket.
      fast.entries = null;
      this.#log(`session ${session.config.key}: no fast path: ${messageOf(error)}`);
    }
  }

  /** The session is no more. */
  forget(session: Passing): void {
    const { fast } = session;
    if (fast === null) return;
    if (fast.entries !== null) this.#withdraw(session, fast.entries);
    this.#sessions.delete(session);
    this.#loaded.slots.giveBack(fast.slot);
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
    this.#checkedMs = now;
    this.#dueMs = now + ROUTES_INTERVAL_MS;
    try {
      this.#check(lost);
    } catch (error) {
      this.#dueMs = now + CHECK_INTERVAL_MS;
      this.#log(`links and routes cannot be looked at now: ${messageOf(error)}`);
    }
    if (this.#sessions.size === 0) this.#dueMs = Number.POSITIVE_INFINITY;
  }

  /** When `poll` has something to do. */
  get deadline(): number {
    return this.#dueMs;
  }

  #check(lost: (key: string) => void): void {
    const links = new Set(listLinks(this.#node).map(({ index }) => index));
    this.#underlay.forget(links);
    for (const session of this.#sessions) {
      const device = session.fast?.device ?? null;
      if (device === null) continue;
      if (links.has(device.nodeEnd)) this.settle(session, device);
      else lost(session.config.key);
    }
  }

  #join(session: Passing): FastSession | null {
    const { slots } = this.#loaded;
    const slot = slots.take();
    if (slot === undefined) {
      this.#log(`session ${session.config.key}: no fast path, there are ${MAX_SESSIONS} on it`);
      return null;
    }
    this.#sessions.add(session);
    return new FastSession(slots, slot);
  }

  /** Null: its frames are to go by the process. */
  #entriesOf(session: Passing, { slot }: FastSession, device: FastDevice): Entries | null {
    const { config, tx, rx, maxFrameBytes } = session;
    const tunnel = session.tunnel.config;
    // Nobody is there to send to, yet or any more.
    if (config.sessionId === 0 || tx.sessionId === 0 || !session.hasCarrier) return null;
    if (!session.isReceiving || !wantsFastPath(config, tunnel)) return null;
    const way = this.#underlay.egress(tunnel);
    if (way === null) return null;
    const { local, remote } = tunnel;
    const header = encapsulationHeader(local, remote, tx);
    const maxFrame = Math.min(maxFrameBytes, way.mtu - header.length);
    const egress = way.ifindex;
    const arrival = { device: device.nodeEnd, slot, maxFrame: maxFrameBytes, rx };
    return {
      port: encodePort({ other: device.tapIndex, egress, slot, maxFrame, header }),
      key: arrivalKey(local, remote, config.sessionId),
      arrival: encodeArrival({ ...arrival, family: familyOf(remote) }),
    };
  }

  /** What comes for it goes to the socket. */
  #withdraw(session: Passing, { key }: Entries): void {
    const name = nameOf(key);
    if (this.#owners.get(name) !== session) return;
    this.#loaded.arrivals.delete(key);
    this.#owners.delete(name);
  }
}

function isSame(one: Entries | null, other: Entries | null): boolean {
  if (one === null || other === null) return one === other;
  const { port, key, arrival } = other;
  return areEqual(one.port, port) && areEqual(one.key, key) && areEqual(one.arrival, arrival);
}

const areEqual = (one: Uint8Array, other: Uint8Array | undefined): boolean =>
  other !== undefined && Buffer.compare(one, other) === 0;
const nameOf = (key: Uint8Array): string => Buffer.from(key).toString("latin1");
const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
