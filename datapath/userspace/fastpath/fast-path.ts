/** Loads the BPF programs and their maps, and maintains the maps' entries of sessions. */
import type { SessionRx, SessionTx } from "../../../l2tp/codec.ts";
import { attachIngress, BpfMap, loadProgram } from "../../../linux/bpf.ts";
import { isErrno } from "../../../linux/errno.ts";
import { closeFd } from "../../../linux/fd.ts";
import { deleteLinkNow, listLinks, setLink } from "../../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../../linux/netlink/socket.ts";
import { drainPacketTooBig, openPacketTooBig } from "../../../linux/packet-too-big.ts";
import type { DeviceOffload, Tap } from "../../../linux/tun.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { DevicePlace } from "../../datapath.ts";
import type { BypassDevices, BypassedFrames, BypassKind } from "../packet/bypass.ts";
import type { AcceptedGso, FrameDevice } from "../packet/ports.ts";
import { CounterSlots } from "./counter-slots.ts";
import { EgressDevices } from "./egress.ts";
import {
  DECAP,
  DECAP_KEY,
  decapKey,
  ENCAP,
  encapKey,
  encapsulationHeader,
  encodeDecap,
  encodeEncap,
  familyOf,
  passOn,
} from "./layout.ts";
import { openPair, type Pair, type PairOptions, removeAt, setPairCarrier } from "./pair.ts";
import { PairDevice } from "./pair-device.ts";
import { decap, dropAll, encap } from "./programs.ts";

/** The process forwards the frames of further sessions. */
const MAX_SESSIONS = 16_384;
/** The minimum interval of checks: links and routes can change continuously. */
const CHECK_INTERVAL_MS = 1000;
/** The interval of unprompted checks: the kernel does not announce when a learned path MTU expires. */
const ROUTES_INTERVAL_MS = 30_000;
/** The kernel delivers a "packet too big" to sockets before it has stored the MTU. */
const LEARNED_MS = 5;
/** RTMGRP_* bits for links, addresses and routes. */
const CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const LOOPBACK = 1;

/** The parts of a session that the fast path uses. */
export interface FastPathSession {
  readonly config: Session;
  readonly tunnel: { readonly config: Tunnel; readonly trafficClass: number };
  readonly tx: SessionTx;
  readonly rx: SessionRx;
  readonly maxFrameBytes: number;
  /** True if frames with its session ID belong to it. */
  readonly isReceiving: boolean;
  readonly hasCarrier: boolean;
}

/** A session's entries in the maps. */
interface Entries {
  readonly encap: Uint8Array;
  readonly key: Uint8Array;
  readonly decap: Uint8Array;
}

/** A session's state in the fast path, for the lifetime of the session. */
interface Part {
  /** Its slot of counters. */
  readonly slot: number;
  device: PairDevice | null;
  /** Null: the process forwards its frames. */
  entries: Entries | null;
}

/** True if the tunnel requests the fast path and the programs support the session. */
function wantsFastPath(session: Session, { fastPath, dscp }: Tunnel): boolean {
  const { sequencing, l2SpecificSublayer, sourceMac } = session;
  const isNumbered = sequencing.send || (sequencing.receive && l2SpecificSublayer === "Default");
  if (dscp === "Copy") return false;
  if (!fastPath || isNumbered || sourceMac !== undefined) return false;
  return pseudowireOf(session).hasFastPath;
}

/** Loads maps and programs. @throws SystemError, with nothing left behind */
function load() {
  const opened: number[] = [];
  const keep = <T extends { readonly fd: number }>(it: T): T => {
    opened.push(it.fd);
    return it;
  };
  const program = (name: string, code: Uint8Array) => keep({ fd: loadProgram(name, code) }).fd;
  try {
    const encaps = keep(new BpfMap("l2tp_encap", ENCAP.keyBytes, ENCAP.bytes, 2 * MAX_SESSIONS));
    const decaps = keep(new BpfMap("l2tp_decap", DECAP_KEY.bytes, DECAP.bytes, MAX_SESSIONS));
    const slots = keep(new CounterSlots(MAX_SESSIONS));
    const fds = { encap: encaps.fd, decap: decaps.fd, counters: slots.fd };
    const programs = {
      encap: program("l2tp_encap", encap(fds)),
      decap: program("l2tp_decap", decap(fds)),
      guard: program("l2tp_guard", dropAll()),
    };
    // This fails if the kernel has no tcx.
    closeFd(attachIngress(programs.decap, LOOPBACK));
    return { encaps, decaps, slots, programs };
  } catch (error) {
    for (const fd of opened) closeFd(fd);
    throw error;
  }
}

class FastPath implements BypassDevices {
  /** Readable after a change of the node's links or routes, or after an ICMPv6 "packet too big". */
  readonly fds: readonly number[];
  readonly #loaded = load();
  readonly #node = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #monitor = new NetlinkSocket(NETLINK_ROUTE, null, CHANGES);
  /** null: the node has no IPv6. Over IPv4, routers fragment datagrams that are too large. */
  readonly #tooBig: number | null;
  readonly #egress: EgressDevices;
  readonly #log: (line: string) => void;
  readonly #parts = new Map<FastPathSession, Part>();
  /** The session of each `decap` entry, by the entry's key. */
  readonly #owners = new Map<string, FastPathSession>();
  #checkedMs = Number.NEGATIVE_INFINITY;
  #dueMs = Number.POSITIVE_INFINITY;

  /**
   * @param log is called with each failure
   * @throws SystemError if the kernel lacks a feature or the process a capability
   */
  constructor(log: (line: string) => void) {
    this.#log = log;
    this.#tooBig = this.#openTooBig();
    this.fds = [this.#monitor.fd, ...(this.#tooBig === null ? [] : [this.#tooBig])];
    this.#egress = new EgressDevices(this.#node, this.#loaded.programs.decap, log);
  }

  open(
    known: FastPathSession,
    session: Session,
    tunnel: Tunnel,
    place: DevicePlace,
    offload: DeviceOffload,
    acceptedGso: (tap: Tap) => AcceptedGso,
  ): PairDevice | null {
    const isWanted = wantsFastPath(session, tunnel);
    if (!this.#parts.has(known) && !(isWanted && this.#join(known))) return null;
    const { guard, encap } = this.#loaded.programs;
    const pair = this.#openPair(session, place, { isWanted, offload, guard });
    if (pair === null) return null;
    const { nodeEnd, tapIndex } = pair;
    const holds: number[] = [];
    const device = new PairDevice(pair, holds, acceptedGso(pair.tap));
    try {
      const { encaps } = this.#loaded;
      encaps.set(encapKey(nodeEnd), passOn(tapIndex));
      encaps.set(encapKey(tapIndex), passOn(nodeEnd));
      for (const index of [nodeEnd, tapIndex]) holds.push(attachIngress(encap, index));
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
      this.#log(`session ${session.key}: fast path unavailable: ${messageOf(error)}`);
      return null;
    }
  }

  close(device: FrameDevice | null): void {
    if (!(device instanceof PairDevice)) return;
    const { nodeEnd, tapIndex } = device.pair;
    try {
      this.setCarrier(device, false);
    } catch (error) {
      this.#log(`cannot clear the carrier of veth ${nodeEnd}: ${messageOf(error)}`);
    }
    for (const hold of device.holds) closeFd(hold);
    const { encaps } = this.#loaded;
    for (const index of [nodeEnd, tapIndex]) encaps.delete(encapKey(index));
  }

  delete(device: FrameDevice): void {
    if (!(device instanceof PairDevice)) return;
    this.close(device);
    try {
      deleteLinkNow(this.#node, device.pair.nodeEnd);
    } catch (error) {
      // The pod has deleted its end, and with it the kernel has deleted this one.
      if (!isErrno(error, "ENODEV")) throw error;
    }
  }

  setCarrier(device: FrameDevice, on: boolean): boolean {
    if (!(device instanceof PairDevice)) return false;
    setPairCarrier(this.#node, device.pair, on);
    return true;
  }

  settle(session: FastPathSession, device: FrameDevice | null): void {
    const part = this.#parts.get(session);
    if (part === undefined) return;
    const pairDevice = device instanceof PairDevice ? device : null;
    part.device = pairDevice;
    const pair = pairDevice?.pair ?? null;
    const entries = pair === null ? null : this.#entriesOf(session, part, pair);
    const before = part.entries;
    // An unchanged entry is not written: a program may be reading it.
    if (isSame(before, entries)) return;
    try {
      const isElsewhere = entries === null || !areEqual(entries.key, before?.key);
      if (before !== null && isElsewhere) this.#withdraw(session, before);
      part.entries = entries;
      if (pair === null) return;
      const { encaps, decaps } = this.#loaded;
      encaps.set(encapKey(pair.nodeEnd), entries?.encap ?? passOn(pair.tapIndex));
      if (entries === null) return;
      decaps.set(entries.key, entries.decap);
      this.#owners.set(nameOf(entries.key), session);
    } catch (error) {
      // The next check retries. Meanwhile datagrams reach the process's socket.
      part.entries = null;
      this.#log(`session ${session.config.key}: fast path unavailable: ${messageOf(error)}`);
    }
  }

  forget(session: FastPathSession): void {
    const part = this.#parts.get(session);
    if (part === undefined) return;
    if (part.entries !== null) this.#withdraw(session, part.entries);
    this.#parts.delete(session);
    this.#loaded.slots.giveBack(part.slot);
  }

  framesOf(session: FastPathSession): BypassedFrames | null {
    const part = this.#parts.get(session);
    if (part === undefined) return null;
    const features = { fastPath: part.entries !== null };
    return { ...this.#loaded.slots.read(part.slot), features };
  }

  hear(now: number, lost: (key: string) => void): void {
    while (this.#monitor.drain());
    const isTooBig = this.#tooBig !== null && drainPacketTooBig(this.#tooBig);
    const dueMs = isTooBig ? now + LEARNED_MS : now;
    // The first of several changes sets the time.
    this.#dueMs = Math.min(this.#dueMs, Math.max(this.#checkedMs + CHECK_INTERVAL_MS, dueMs));
    this.poll(now, lost);
  }

  #openTooBig(): number | null {
    try {
      return openPacketTooBig();
    } catch (error) {
      if (!isErrno(error, "EAFNOSUPPORT")) {
        this.#log(`path MTU changes take effect late on the fast path: ${messageOf(error)}`);
      }
      return null;
    }
  }

  poll(now: number, lost: (key: string) => void): void {
    if (now < this.#dueMs) return;
    this.#checkedMs = now;
    this.#dueMs = now + ROUTES_INTERVAL_MS;
    try {
      this.#check(lost);
    } catch (error) {
      this.#dueMs = now + CHECK_INTERVAL_MS;
      this.#log(`cannot read links and routes: ${messageOf(error)}; retrying`);
    }
    if (this.#parts.size === 0) this.#dueMs = Number.POSITIVE_INFINITY;
  }

  get deadline(): number {
    return this.#dueMs;
  }

  #check(lost: (key: string) => void): void {
    const links = new Set(listLinks(this.#node).map(({ index }) => index));
    this.#egress.forget(links);
    for (const [session, { device }] of this.#parts) {
      if (device === null) continue;
      if (links.has(device.pair.nodeEnd)) this.settle(session, device);
      else lost(session.config.key);
    }
  }

  /** Adds the session. False: the fast path is full. */
  #join(session: FastPathSession): boolean {
    const slot = this.#loaded.slots.take();
    if (slot === undefined) {
      this.#log(`session ${session.config.key}: fast path full (${MAX_SESSIONS} sessions)`);
      return false;
    }
    this.#parts.set(session, { slot, device: null, entries: null });
    return true;
  }

  /** Returns the session's entries; null: the process must forward its frames. */
  #entriesOf(session: FastPathSession, { slot }: Part, pair: Pair): Entries | null {
    const { config, tx, rx, maxFrameBytes } = session;
    const tunnel = session.tunnel.config;
    // The session is not negotiated, or the peer's circuit is down.
    if (config.sessionId === 0 || tx.sessionId === 0 || !session.hasCarrier) return null;
    if (!session.isReceiving || !wantsFastPath(config, tunnel)) return null;
    const path = this.#egress.nextHop(tunnel);
    if (path === null) return null;
    const { local, remote } = tunnel;
    const header = encapsulationHeader(local, remote, tx, session.tunnel.trafficClass);
    const maxFrame = Math.min(maxFrameBytes, path.mtu - header.length);
    const { egress } = path;
    const decap = { device: pair.nodeEnd, slot, maxFrame: maxFrameBytes, rx };
    return {
      encap: encodeEncap({ other: pair.tapIndex, egress, slot, maxFrame, header }),
      key: decapKey(local, remote, config.sessionId),
      decap: encodeDecap({ ...decap, family: familyOf(remote) }),
    };
  }

  /** Deletes the session's `decap` entry: its datagrams then reach the process's socket. */
  #withdraw(session: FastPathSession, { key }: Entries): void {
    const name = nameOf(key);
    if (this.#owners.get(name) !== session) return;
    this.#loaded.decaps.delete(key);
    this.#owners.delete(name);
  }
}

/** The fast path as a bypass of the process. Programs and maps are loaded for the first session that can use it. */
export const fastPath: BypassKind = {
  isFor: wantsFastPath,
  start(log) {
    try {
      return new FastPath(log);
    } catch (error) {
      // The kernel has no tcx (Linux 6.6), or the process must not load programs.
      log(`fast path unavailable (${messageOf(error)}): this process forwards all frames`);
      return null;
    }
  },
  removeAt,
};

function isSame(one: Entries | null, other: Entries | null): boolean {
  if (one === null || other === null) return one === other;
  const { encap, key, decap } = other;
  return areEqual(one.encap, encap) && areEqual(one.key, key) && areEqual(one.decap, decap);
}

const areEqual = (one: Uint8Array, other: Uint8Array | undefined): boolean =>
  other !== undefined && Buffer.compare(one, other) === 0;
const nameOf = (key: Uint8Array): string => Buffer.from(key).toString("latin1");
const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
