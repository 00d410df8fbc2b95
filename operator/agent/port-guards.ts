/**
 * Sets filters on pods' ports that accept frames of one source address only (spec.attachment.macSpoofing: Refuse). The
 * filter is on the node's side of the port, where the pod cannot change it, and works without the agent.
 */
import type { Listing } from "../../datapath/datapath.ts";
import { failureCode } from "../../datapath/failure.ts";
import { isErrno } from "../../linux/errno.ts";
import { findLink } from "../../linux/netlink/link.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import {
  deleteIngressFilter,
  findIngressFilter,
  listIngressDrops,
  setIngressFilter,
  sourceFilter,
} from "../../linux/netlink/traffic-control.ts";
import { type Attachment, attachmentMode, portName } from "../../model/attachments/index.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import { refusesSpoofing } from "../resolve/session-kind.ts";
import type { Failure } from "../resolve/status.ts";

export interface PortGuard {
  readonly port: string;
  /** The key of the session. */
  readonly session: string;
  /** The only accepted source address; null: all are accepted. */
  readonly mac: string | null;
}

/** Returns the bridge ports of pods with their filters. */
export function portGuards(
  sessions: Iterable<ResolvedSession>,
  attachmentsOf: (session: string) => readonly Attachment[],
): PortGuard[] {
  return Array.from(sessions).flatMap(({ mode, object, session: { key } }) => {
    if (attachmentMode(mode).macSpoofingAt !== "port") return [];
    return attachmentsOf(key).map((attachment) => ({
      port: portName(attachment),
      session: key,
      mac: refusesSpoofing(object) ? attachment.mac : null,
    }));
  });
}

/** Sets or removes the filters of the ports. Returns the failures by "session KEY". */
export function applyGuards(
  socket: NetlinkSocket,
  guards: readonly PortGuard[],
): ReadonlyMap<string, Failure> {
  const failures = new Map<string, Failure>();
  if (guards.length === 0) return failures;
  const filtered = listIngressDrops(socket);
  for (const guard of guards) {
    if (guard.mac === null && filtered.size === 0) continue;
    try {
      applyGuard(socket, guard);
    } catch (error) {
      failures.set(`session ${guard.session}`, describe(guard, error));
    }
  }
  return failures;
}

function applyGuard(socket: NetlinkSocket, { port, mac }: PortGuard): void {
  const link = findLink(socket, port);
  if (link === undefined) return;
  const there = findIngressFilter(socket, link.index);
  if (mac === null) {
    if (there !== undefined) deleteIngressFilter(socket, link.index);
    return;
  }
  const filter = sourceFilter(mac);
  if (there !== undefined && Buffer.compare(there, filter) === 0) return;
  setIngressFilter(socket, link.index, filter);
}

function describe({ port }: PortGuard, error: unknown): Failure {
  const { message } = error as Error;
  const isMissing = isErrno(error, "ENOENT", "EOPNOTSUPP");
  const remedy = isMissing ? "; load the modules sch_ingress and cls_bpf on the node" : "";
  return {
    code: failureCode(error),
    message: `spec.attachment.macSpoofing: Refuse: cannot set the filter on ${port}: ${message}${remedy}`,
  };
}

/** Returns the listing with the frames that the filters dropped added to the sessions' counters. */
export function withGuardDrops(
  listing: Listing,
  socket: NetlinkSocket,
  guards: readonly PortGuard[],
): Listing {
  const ports = guards.filter(({ mac }) => mac !== null);
  if (ports.length === 0) return listing;
  const drops = listIngressDrops(socket);
  const bySession = new Map<string, number>();
  for (const { port, session } of ports) {
    const dropped = drops.get(findLink(socket, port)?.index ?? 0) ?? 0;
    bySession.set(session, (bySession.get(session) ?? 0) + dropped);
  }
  const sessions = listing.sessions.map((state) => {
    const dropped = bySession.get(state.session.key) ?? 0;
    if (dropped === 0) return state;
    const txSpoofed = (state.counters.txSpoofed ?? 0) + dropped;
    return { ...state, counters: { ...state.counters, txSpoofed } };
  });
  return { ...listing, sessions };
}
