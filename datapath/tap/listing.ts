import type { Listing } from "../datapath.ts";
import { errnoName } from "../sys/errno.ts";
import { decodeSockaddr } from "../sys/socket.ts";
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
      lastStranger: tunnel.strangers === 0 ? null : decodeSockaddr(tunnel.strangerName),
    })),
    sessions: sessions.map((session) => ({
      session: session.config,
      datapath: "Userspace",
      deviceOpen: session.device !== null,
      receiving: table.isReceiving(session),
      counters: session.counters,
      lastReceivedMsAgo:
        session.lastReceivedMs < 0 ? null : Math.round(now - session.lastReceivedMs),
      resyncs: session.order?.resyncs ?? 0,
    })),
  };
}
