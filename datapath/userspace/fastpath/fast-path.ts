/** The programs in the kernel, their maps, and which sessions are in them. */
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

/** More go by the process. */
const MAX_SESSIONS = 16_384;
/** Links and routes of a node may change all the time. */
const CHECK_INTERVAL_MS = 1000;
/** The kernel does not announce that the MTU of a path, which a router has told, counts no longer. */
const ROUTES_INTERVAL_MS = 30_000;
/** The kernel tells sockets of a "packet too big" before it has learned the MTU. */
const LEARNED_MS = 5;
/** RTMGRP_* of links, addresses and routes. */
const CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const LOOPBACK = 1;

/** A session, as far as the fast path has to know it. */
export interface FastPathSession {
  readonly config: Session;
  readonly tunnel: { readonly config: Tunnel; readonly trafficClass: number };
  readonly tx: SessionTx;
  readonly rx: SessionRx;
  readonly maxFrameBytes: number;
  /** True if frames with its session ID are for it. */
  readonly isReceiving: boolean;
  readonly hasCarrier: boolean;
}

/** The entries in the maps for a session. */
interface Entries {
  readonly encap: Uint8Array;
  readonly key: Uint8Array;
  readonly decap: Uint8Array;
}

/** A session's part in the fast path, for as long as there is the session. */
interface Part {
  /** Its place among the counters. */
  readonly slot: number;
  device: PairDevice | null;
  /** Null: its frames go by the process. */
  entries: Entries | null;
}

/** Whether frames of such a session need nothing that programs cannot do. */
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
    // Only here is known whether the kernel has tcx.
    closeFd(attachIngress(programs.decap, LOOPBACK));
    return { encaps, decaps, slots, programs };
  } catch (error) {
    for (const fd of opened) closeFd(fd);
    throw error;
  }
}

class FastPath implements BypassDevices {
  /** Readable when links or routes of the node have changed, or when a router has told the MTU of a path over IPv6. */
  readonly fds: readonly number[];
  readonly #loaded = load();
  readonly #node = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #monitor = new NetlinkSocket(NETLINK_ROUTE, null, CHANGES);
  /** null: the node has no IPv6. Over IPv4, routers fragment what is too large. */
  readonly #tooBig: number | null;
  readonly #egress: EgressDevices;
  readonly #log: (line: string) => void;
  readonly #parts = new Map<FastPathSession, Part>();
  /** The session whose datagrams an entry takes, by its key. */
  readonly #owners = new Map<string, FastPathSession>();
  #checkedMs = Number.NEGATIVE_INFINITY;
  #dueMs = Number.POSITIVE_INFINITY;

  /**
   * @param log is called with what goes wrong
   * @throws SystemError, where the kernel or a missing capability does not allow it
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
      this.#log(`session ${session.key}: no fast path: ${messageOf(error)}`);
      return null;
    }
  }

  close(device: FrameDevice | null): void {
    if (!(device instanceof PairDevice)) return;
    const { nodeEnd, tapIndex } = device.pair;
    try {
      this.setCarrier(device, false);
    } catch (error) {
      this.#log(`the pair of link ${nodeEnd} keeps its carrier: ${messageOf(error)}`);
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
      // The pod has deleted its end, and the kernel this one with it.
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
    // What stands is not written again: a program may just be reading it.
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
      // The next check tries again; what comes meanwhile comes to the socket.
      part.entries = null;
      this.#log(`session ${session.config.key}: no fast path: ${messageOf(error)}`);
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
    // The first of many counts.
    this.#dueMs = Math.min(this.#dueMs, Math.max(this.#checkedMs + CHECK_INTERVAL_MS, dueMs));
    this.poll(now, lost);
  }

  #openTooBig(): number | null {
    try {
      return openPacketTooBig();
    } catch (error) {
      if (!isErrno(error, "EAFNOSUPPORT")) {
        this.#log(`the fast path learns MTUs late: ${messageOf(error)}`);
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
      this.#log(`links and routes cannot be looked at now: ${messageOf(error)}`);
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

  /** False: there is no room for it. */
  #join(session: FastPathSession): boolean {
    const slot = this.#loaded.slots.take();
    if (slot === undefined) {
      this.#log(`session ${session.config.key}: no fast path, there are ${MAX_SESSIONS} on it`);
      return false;
    }
    this.#parts.set(session, { slot, device: null, entries: null });
    return true;
  }

  /** Null: its frames are to go by the process. */
  #entriesOf(session: FastPathSession, { slot }: Part, pair: Pair): Entries | null {
    const { config, tx, rx, maxFrameBytes } = session;
    const tunnel = session.tunnel.config;
    // Nobody is there to send to, yet or any more.
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

  /** What comes for it goes to the socket. */
  #withdraw(session: FastPathSession, { key }: Entries): void {
    const name = nameOf(key);
    if (this.#owners.get(name) !== session) return;
    this.#loaded.decaps.delete(key);
    this.#owners.delete(name);
  }
}

/** The fast path as a way past the process: programs and maps are loaded for the first session that can have it. */
export const fastPath: BypassKind = {
  isFor: wantsFastPath,
  start(log) {
    try {
      return new FastPath(log);
    } catch (error) {
      // The kernel has no tcx (Linux 6.6), or the process must not load programs.
      log(`no fast path (${messageOf(error)}): all frames pass through this process`);
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
