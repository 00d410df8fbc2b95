import { errnoName } from "../../../linux/errno.ts";
import { decodeSockaddr } from "../../../linux/socket.ts";
import type { SessionCounters } from "../../../model/model.ts";
import type { Listing, Stranger } from "../../datapath.ts";
import type { SessionState } from "../packet/session.ts";
import type { Table } from "../packet/table.ts";

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
      datapath: session.tunnel.config.datapath,
      deviceOpen: session.device !== null,
      deviceIndex: session.device?.index ?? 0,
      receiving: session.isReceiving,
      fastPath: session.fast?.isActive ?? false,
      counters: allCounters(session),
      lastReceivedMsAgo: lastReceivedMsAgo(session, now),
      resyncs: session.order?.resyncs ?? 0,
    })),
  };
}

/** With what passed the process by. */
function allCounters({ counters, fast }: SessionState): SessionCounters {
  if (fast === null) return counters;
  const { txPackets, txBytes, rxPackets, rxBytes } = fast.counters;
  return {
    ...counters,
    txPackets: counters.txPackets + txPackets,
    txBytes: counters.txBytes + txBytes,
    rxPackets: counters.rxPackets + rxPackets,
    rxBytes: counters.rxBytes + rxBytes,
  };
}

function lastReceivedMsAgo(session: SessionState, now: number): number | null {
  const lastMs = session.lastHeardMs(now);
  return lastMs < 0 ? null : msAgo(lastMs, now);
}

/** @param sockaddr of the last one that came, at `lastMs`; −1: none yet */
export function strangerOf(sockaddr: Uint8Array, lastMs: number, now: number): Stranger | null {
  return lastMs < 0 ? null : { ...decodeSockaddr(sockaddr), msAgo: msAgo(lastMs, now) };
}

function msAgo(ms: number, now: number): number {
  return Math.round(now - ms);
}
