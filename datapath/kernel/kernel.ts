/**
 * Tunnels and sessions in the kernel's L2TP. Another datapath creates the tunnels that need a socket of a process. The
 * kernel answers requests immediately, but deletes in the background, so deletions wait for it
 * (docs/adr/0006-kernel-datapath.md).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { dataHeaderBytes } from "../../l2tp/codec.ts";
import { sameData } from "../../l2tp/same-data.ts";
import { isErrno } from "../../linux/errno.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import {
  createEndpointCounters,
  createSessionCounters,
  type Session,
  type Tunnel,
} from "../../model/model.ts";
import { kernelNumber, pseudowireOf, whyNotInKernel } from "../../model/pseudowires/index.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { Change, Listing, Names, SessionState, TunnelState } from "../datapath.ts";
import type { DatapathErrorCode } from "../failure.ts";
import { PathMtus } from "../path-mtus.ts";
import { Activity } from "./activity.ts";
import {
  type Adopted,
  adopt,
  adoptSession,
  type Claims,
  isOurSession,
  NO_CLAIMS,
} from "./adopt.ts";
import { Batch, type PutSession } from "./batch.ts";
import { kernelDeviceName } from "./device-name.ts";
import {
  type KernelSession,
  type KernelTunnel,
  L2tpNetlink,
  type L2tpStatistics,
  type NewKernelSession,
  type NewKernelTunnel,
} from "./l2tp-netlink.ts";
import { KERNEL, needsSocket } from "./traits.ts";

const FIRST_POLL_MS = 2;
const LAST_POLL_MS = 100;
/** Limits for a deletion of many sessions: Linux 6.1 takes some 25 ms for each. */
const DELETION_BASE_MS = 20_000;
const DELETION_PER_SESSION_MS = 100;

/** A tunnel or session that l2tp-cni did not create uses the ID. */
export class NotOursError extends Error {
  readonly code = "NotOurs" satisfies DatapathErrorCode;
}

/** The kernel does not have (yet) the tunnel that another datapath must create from its socket. */
export class NoSocketError extends Error {
  static readonly CODE = "NoSocket" satisfies DatapathErrorCode;
  readonly code = NoSocketError.CODE;
}

/** Returns the error message for a tunnel ID that a foreign tunnel uses. */
export function foreignTunnel(tunnelId: number): string {
  const remedy = `delete that tunnel (ip l2tp del tunnel tunnel_id ${tunnelId}), or use a different spec.tunnelId`;
  return `tunnel ID ${tunnelId} belongs to a tunnel that l2tp-cni did not create; ${remedy}`;
}

/** All tunnels and sessions in the kernel, including foreign ones. */
export interface KernelObjects {
  readonly tunnels: readonly KernelTunnel[];
  readonly sessions: readonly KernelSession[];
}

export class KernelDatapath {
  readonly #l2tp: L2tpNetlink;
  readonly #links = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #activity = new Activity();
  readonly #pathMtus = new PathMtus();
  /** Ours, by name. */
  readonly #tunnels = new Map<string, Tunnel>();
  /** Ours, by key. */
  readonly #sessions = new Map<string, NewKernelSession | KernelSession>();
  /** True if another datapath has closed a tunnel's socket. */
  #isReleasing = false;
  #foreign: Pick<Adopted, "foreignTunnels" | "foreignSessions"> = {
    foreignTunnels: new Map(),
    foreignSessions: new Map(),
  };

  /** @throws NoL2tpError */
  constructor() {
    this.#l2tp = L2tpNetlink.open(null);
  }

  close(): void {
    this.#l2tp.close();
    this.#links.close();
    this.#pathMtus.close();
  }

  /** Lists our tunnels and sessions. Changes refer to the last listing. */
  list(names: Names, claims = NO_CLAIMS): Listing {
    const adopted = this.#adopt(names, claims);
    this.#foreign = adopted;
    this.#tunnels.clear();
    this.#sessions.clear();
    for (const [name, item] of adopted.tunnels) {
      this.#tunnels.set(name, item.tunnel);
      this.#pathMtus.serve(item.tunnel);
    }
    for (const [key, { raw }] of adopted.sessions) this.#sessions.set(key, raw);
    this.#activity.keep(new Set(adopted.sessions.keys()));
    return this.#describe(adopted);
  }

  /** As `list`, but changes still refer to the listing before. */
  peek(names: Names, claims = NO_CLAIMS): Listing {
    return this.#describe(this.#adopt(names, claims));
  }

  objects(): KernelObjects {
    const sessions = this.#l2tp.listSessions();
    return {
      tunnels: this.#l2tp.listTunnels(),
      sessions: [...sessions, ...sessions.flatMap((session) => this.#shadowOf(session) ?? [])],
    };
  }

  /**
   * Linux 6.12 accepts a second session with the same ID in a tunnel. Its dumps show only the first. Frames and
   * requests for the ID reach the second.
   */
  #shadowOf(listed: KernelSession): KernelSession | undefined {
    const found = this.#l2tp.getSession(listed);
    const isOther = found !== undefined && !sameData(identity(found), identity(listed));
    return isOther ? found : undefined;
  }

  /** Returns the session ID that the session last had in the kernel; undefined: it had none. */
  sessionIdOf(key: string): number | undefined {
    return this.#sessions.get(key)?.sessionId;
  }

  /** Lists one session, if the tunnel has a session of ours with its ID. */
  find(wanted: Session, tunnelId: number): Listing {
    const raw = this.#l2tp.getSession({ tunnelId, sessionId: wanted.sessionId });
    if (raw === undefined || !isOurSession(raw)) return { tunnels: [], sessions: [] };
    this.#sessions.set(wanted.key, raw);
    const session = adoptSession(wanted.key, wanted.tunnel, raw);
    const tunnel = this.#tunnels.get(wanted.tunnel);
    return { tunnels: [], sessions: [this.#describeSession({ session, raw }, tunnel)] };
  }

  /** Records that a tunnel's socket was closed: the next changes may find the tunnel still in the kernel. */
  expectRelease(): void {
    this.#isReleasing = true;
  }

  /** Returns a reply for each change, in order. A change that fails does not stop the next. */
  async apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    const batch = new Batch(changes);
    if (this.#isReleasing) batch.deletes();
    this.#isReleasing = false;
    const withTunnel = this.#deletedWithTunnel(changes);
    for (let at = 0; at < changes.length; ) at += await this.#applyRun(batch, withTunnel, at);
    return batch.replies;
  }

  /** Applies the changes of one kind from `start` on: consecutive puts in one send. Returns the number of changes. */
  async #applyRun(batch: Batch, withTunnel: ReadonlySet<string>, start: number): Promise<number> {
    const run = batch.runFrom(start);
    switch (run.op) {
      case "putTunnel":
        await this.#putTunnels(batch, run.tunnels, start);
        return run.tunnels.length;
      case "putSession":
        await this.#putSessions(batch, run.puts, start);
        return run.puts.length;
      case "deleteTunnel":
        batch.deletes();
        await batch.settle(start, () => this.#deleteTunnel(run.name));
        return 1;
      case "deleteSession":
        batch.deletes();
        if (!withTunnel.has(run.key)) await batch.settle(start, () => this.#deleteSession(run.key));
        return 1;
      case "deleteDevice":
        // The kernel creates and deletes the device with its session.
        return 1;
    }
  }

  /**
   * Returns the keys of sessions to delete by deleting their tunnel, which is faster. Their devices are on the node, so
   * the deletion can be observed.
   */
  #deletedWithTunnel(changes: readonly Change[]): ReadonlySet<string> {
    const ids = new Set(
      changes.flatMap((change) => {
        if (change.op !== "deleteTunnel") return [];
        const id = this.#tunnels.get(change.name)?.tunnelId;
        return id === undefined || this.#foreignIn(id).length > 0 ? [] : [id];
      }),
    );
    const keys = changes.flatMap((change) => {
      if (change.op !== "deleteSession") return [];
      const raw = this.#sessions.get(change.key);
      if (raw === undefined || !ids.has(raw.tunnelId)) return [];
      return findLink(this.#links, raw.interface) === undefined ? [] : [change.key];
    });
    return new Set(keys);
  }

  async #putTunnels(batch: Batch, tunnels: readonly Tunnel[], start: number): Promise<void> {
    const wanted = new Map<NewKernelTunnel, { index: number; tunnel: Tunnel }>();
    for (const [offset, tunnel] of tunnels.entries()) {
      const index = start + offset;
      await batch.settle(index, () => {
        const raw = newTunnel(tunnel);
        const isThere = needsSocket(tunnel) ? this.#isGiven(tunnel) : this.#isMade(raw);
        if (isThere) this.#tunnels.set(tunnel.name, tunnel);
        else wanted.set(raw, { index, tunnel });
      });
    }
    const errors = await batch.create([...wanted.keys()], (some) => this.#l2tp.createTunnels(some));
    for (const [raw, { index, tunnel }] of wanted) {
      const error = errors.get(raw);
      if (error === undefined) this.#tunnels.set(tunnel.name, tunnel);
      else batch.fail(index, error);
    }
    for (const tunnel of tunnels) this.#pathMtus.serve(tunnel);
  }

  /** True: another datapath has created the tunnel from its socket. @throws NoSocketError */
  #isGiven(tunnel: Tunnel): true {
    if (this.holds(tunnel)) return true;
    throw new NoSocketError(`kernel tunnel ${tunnel.tunnelId} was not created from its socket`);
  }

  /** True if the kernel has the tunnel, created from a socket. */
  holds(tunnel: Tunnel): boolean {
    const known = this.#l2tp.getTunnel(tunnel.tunnelId);
    return known !== undefined && isSame(known, newTunnel(tunnel));
  }

  /** Resolves when the kernel has deleted the tunnels whose sockets were closed. @throws Error after a timeout */
  async release(tunnelIds: readonly number[]): Promise<void> {
    const deadline = performance.now() + DELETION_BASE_MS;
    for (const id of tunnelIds) {
      await gone(`tunnel ${id}`, deadline, () => this.#l2tp.getTunnel(id) === undefined);
    }
  }

  /** True if the tunnel exists: a reconcile that ended before its first session created it. @throws NotOursError */
  #isMade(wanted: NewKernelTunnel): boolean {
    const { tunnelId } = wanted;
    const foreign = this.#foreign.foreignTunnels.get(tunnelId);
    if (foreign === undefined) return false;
    if (isSame(foreign, wanted) && this.#foreignIn(tunnelId).length === 0) return true;
    throw new NotOursError(foreignTunnel(tunnelId));
  }

  async #putSessions(batch: Batch, puts: readonly PutSession[], start: number): Promise<void> {
    const wanted = new Map<NewKernelSession, { index: number; key: string }>();
    for (const [offset, { session, device }] of puts.entries()) {
      const index = start + offset;
      await batch.settle(index, () => {
        const raw = this.#newSession(session);
        if (device === "keep") return this.#l2tp.modifySession(raw, raw);
        this.#requireFreeId(raw);
        wanted.set(raw, { index, key: session.key });
      });
    }
    const raws = [...wanted.keys()];
    const errors = await batch.create(raws, (some) => this.#l2tp.createSessions(some));
    for (const [raw, { index, key }] of wanted) {
      const error = errors.get(raw);
      if (error === undefined) this.#sessions.set(key, raw);
      else batch.fail(index, error);
    }
  }

  #newSession(session: Session): NewKernelSession {
    const tunnel = this.#tunnels.get(session.tunnel);
    if (tunnel === undefined) {
      throw new Error(`session ${session.key}: no tunnel ${session.tunnel} in the kernel`);
    }
    return newSession(tunnel.tunnelId, session);
  }

  /** Linux 6.12 accepts a second session with the same ID in a tunnel. The first then receives no frames. */
  #requireFreeId({ tunnelId, sessionId }: NewKernelSession): void {
    const foreign = this.#foreign.foreignSessions.get(sessionId);
    if (foreign === undefined) return;
    const remedy = `delete that session (ip l2tp del session tunnel_id ${foreign.tunnelId} session_id ${sessionId}), or use a different spec.sessionId`;
    const where = foreign.tunnelId === tunnelId ? "the tunnel" : `tunnel ${foreign.tunnelId}`;
    const fault = `session ID ${sessionId} belongs to a session in ${where} that l2tp-cni did not create`;
    throw new NotOursError(`${fault}; ${remedy}`);
  }

  async #deleteSession(key: string): Promise<void> {
    const raw = this.#sessions.get(key);
    if (raw === undefined) return;
    const deadline = performance.now() + DELETION_BASE_MS;
    // The ID may have several sessions: the kernel deletes the first that it finds.
    await gone(`session ${raw.sessionId}`, deadline, async () => {
      await this.#l2tp.deleteSession(raw);
      return this.#l2tp.getSession(raw) === undefined;
    });
    this.#sessions.delete(key);
  }

  /** Resolves when the kernel has deleted the tunnel and its sessions' devices. */
  async #deleteTunnel(name: string): Promise<void> {
    const known = this.#tunnels.get(name);
    if (known === undefined) return;
    const { tunnelId } = known;
    const foreign = this.#foreignIn(tunnelId);
    if (foreign.length > 0) {
      const ids = foreign.map(({ sessionId }) => sessionId).join(", ");
      throw new NotOursError(
        `cannot delete tunnel ${tunnelId}: it contains sessions that l2tp-cni did not create (${ids}); delete those sessions first`,
      );
    }
    const sessions = [...this.#sessions].filter(([, raw]) => raw.tunnelId === tunnelId);
    try {
      this.#l2tp.deleteTunnel(tunnelId);
    } catch (error) {
      if (!isErrno(error, "ENODEV")) throw error;
    }
    const deadline =
      performance.now() + DELETION_BASE_MS + sessions.length * DELETION_PER_SESSION_MS;
    await gone(`tunnel ${tunnelId}`, deadline, () => this.#l2tp.getTunnel(tunnelId) === undefined);
    for (const [key, { interface: device }] of sessions) {
      await gone(device, deadline, () => findLink(this.#links, device) === undefined);
      this.#sessions.delete(key);
    }
    this.#tunnels.delete(name);
  }

  #adopt(names: Names, claims: Claims): Adopted {
    const { tunnels, sessions } = this.objects();
    return adopt(tunnels, sessions, names, claims);
  }

  #foreignIn(id: number): KernelSession[] {
    return [...this.#foreign.foreignSessions.values()].filter(({ tunnelId }) => tunnelId === id);
  }

  #describe({ tunnels, sessions }: Adopted): Listing {
    return {
      tunnels: Array.from(tunnels.values(), describeTunnel),
      sessions: Array.from(sessions.values(), (item) =>
        this.#describeSession(item, tunnels.get(item.session.tunnel)?.tunnel),
      ),
    };
  }

  #describeSession(
    { session, raw }: { session: Session; raw: KernelSession },
    tunnel: Tunnel | undefined,
  ): SessionState {
    const { statistics } = raw;
    return {
      session,
      datapath: KERNEL.name,
      deviceOpen: true,
      receiving: true,
      counters: {
        ...createSessionCounters(),
        ...statistics,
        // The kernel counts late frames in both (l2tp_recv_common).
        rxErrors: Math.max(0, statistics.rxErrors - statistics.rxSeqDiscards),
        ...frameBytes(session, tunnel?.encapsulation === "UDP", statistics),
      },
      lastReceivedMsAgo: this.#activity.lastReceivedMsAgo(session.key, statistics.rxPackets),
      resyncs: 0,
    };
  }
}

function isSame(
  { usingIpsec: _, statistics: __, ...known }: KernelTunnel,
  wanted: NewKernelTunnel,
) {
  return sameData(known, wanted);
}

/** Returns the fields that distinguish two sessions with one ID, without those that the kernel changes. */
function identity({ interface: device, peerSessionId, rxCookie, txCookie }: KernelSession) {
  return { device, peerSessionId, rxCookie, txCookie };
}

/** Returns the bytes of frames: the kernel's counters include the L2TP header. */
function frameBytes(
  { l2SpecificSublayer, rxCookie, txCookie }: Session,
  overUdp: boolean,
  { rxPackets, rxBytes, txPackets, txBytes }: L2tpStatistics,
) {
  const header = (cookie: string) =>
    dataHeaderBytes({
      overUdp,
      cookieBytes: cookie.length / 2,
      sublayer: l2SpecificSublayer === "Default",
    });
  return {
    rxBytes: Math.max(0, rxBytes - rxPackets * header(rxCookie)),
    txBytes: Math.max(0, txBytes - txPackets * header(txCookie)),
  };
}

function describeTunnel({ tunnel, raw }: { tunnel: Tunnel; raw: KernelTunnel }): TunnelState {
  const { rxPackets, rxErrors } = raw.statistics;
  return {
    tunnel,
    endpoint: { ...createEndpointCounters(), rxPackets, rxErrors },
    lastSendError: null,
    lastUnknownSession: null,
    lastStranger: null,
  };
}

function newTunnel(tunnel: Tunnel): NewKernelTunnel {
  const { tunnelId, peerTunnelId, encapsulation, local, remote, udpChecksum } = tunnel;
  return {
    tunnelId,
    peerTunnelId,
    protocolVersion: 3,
    encapsulation,
    local: local.address,
    remote: remote.address,
    localPort: local.port,
    remotePort: remote.port,
    udpChecksum,
  };
}

/** @throws Error if the kernel's L2TP does not support the session's pseudowire type */
function newSession(tunnelId: number, session: Session): NewKernelSession {
  const type = pseudowireOf(session);
  const pseudowireType = kernelNumber(type);
  if (pseudowireType === null) throw new Error(`${type.name}: ${whyNotInKernel(type)}`);
  const { sessionId, peerSessionId, l2SpecificSublayer, txCookie, rxCookie, sequencing } = session;
  return {
    tunnelId,
    sessionId,
    peerSessionId,
    pseudowireType,
    l2SpecificSublayer,
    txCookie,
    rxCookie,
    interface: kernelDeviceName(session),
    sendSequence: sequencing.send,
    receiveSequence: sequencing.receive,
    reorderTimeoutMs: sequencing.reorderTimeoutMs,
    // Otherwise the peer decides whether we send sequence numbers (l2tp_recv_common).
    lnsMode: true,
  };
}

async function gone(
  what: string,
  deadline: number,
  isGone: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let wait = FIRST_POLL_MS; !(await isGone()); wait = Math.min(wait * 2, LAST_POLL_MS)) {
    if (performance.now() > deadline) {
      throw new Error(`timed out waiting for the kernel to delete ${what}`);
    }
    await sleep(wait);
  }
}
