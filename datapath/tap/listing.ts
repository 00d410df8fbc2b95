import type { Listing, Stranger } from "../datapath.ts";
import { errnoName } from "../sys/errno.ts";
import { decodeSockaddr } from "../sys/socket.ts";
import type { SessionState } from "./session.ts";
import type { Table } from "./table.ts";

/** All that the process knows, or all about some sessions, as plain data. */
export function listing(table: Table, now: number, keys?: readonly string[]): Listing {
  const tunnels = keys === undefined ? [...table.tunnels.values()] : [];
  const sessions =
    keys === undefined
      ? [...table.sessions.values()]
      : keys.flatMap((key) => table.sessions.get(key) ?? []);
  return {
    tunnels: tunnels.map((tunnel) => ({
      tunnel: tunnel.config,
      endpoint: tunnel.endpoint.counters,
      lastSendError: tunnel.lastSendErrno === 0 ? null : errnoName(tunnel.lastSendErrno),
      lastUnknownSession: tunnel.endpoint.lastUnknownSession || null,
      lastStranger: strangerOf(tunnel.strangerName, tunnel.strangerMs, now),
    })),
    sessions: sessions.map((session) => ({
      session: session.config,
      datapath: "Userspace",
      deviceOpen: session.device !== null,
      receiving: table.isReceiving(session),
      fastPath: session.fast?.isActive ?? false,
      ...traffic(session, now),
      resyncs: session.order?.resyncs ?? 0,
    })),
  };
}

/** What passed by the process, and what passed it by. */
function traffic(
  { counters, lastReceivedMs, fast }: SessionState,
  now: number,
): Pick<Listing["sessions"][number], "counters" | "lastReceivedMsAgo"> {
  const lastReceivedMsAgo = lastReceivedMs < 0 ? null : msAgo(lastReceivedMs, now);
  if (fast === null) return { counters, lastReceivedMsAgo };
  const { lastReceivedMsAgo: fastMsAgo, ...passed } = fast.counters;
  const ages = [lastReceivedMsAgo, fastMsAgo].filter((age) => age !== null);
  return {
    counters: {
      ...counters,
      txPackets: counters.txPackets + passed.txPackets,
      txBytes: counters.txBytes + passed.txBytes,
      rxPackets: counters.rxPackets + passed.rxPackets,
      rxBytes: counters.rxBytes + passed.rxBytes,
    },
    lastReceivedMsAgo: ages.length === 0 ? null : Math.min(...ages),
  };
}

/** @param sockaddr of the last one that came, at `lastMs`; −1: none yet */
export function strangerOf(sockaddr: Uint8Array, lastMs: number, now: number): Stranger | null {
  return lastMs < 0 ? null : { ...decodeSockaddr(sockaddr), msAgo: msAgo(lastMs, now) };
}

function msAgo(ms: number, now: number): number {
  return Math.round(now - ms);
}
