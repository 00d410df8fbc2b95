import { errnoName } from "../../../linux/errno.ts";
import { decodeSockaddr } from "../../../linux/socket.ts";
import type { SessionCounters } from "../../../model/model.ts";
import type { Listing, UnexpectedSource } from "../../datapath.ts";
import type { BypassedFrames } from "../packet/bypass.ts";
import type { PacketSession, PacketTunnel } from "../packet/session.ts";
import type { Table } from "../packet/table.ts";

/** Returns all tunnels and sessions as plain data, or only the sessions with the keys. */
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
      lastStranger: unexpectedSource(tunnel, now),
    })),
    sessions: sessions.map((session) => {
      const bypassed = table.bypassedFrames(session);
      return {
        session: session.config,
        datapath: "Userspace",
        deviceOpen: session.device !== null,
        deviceIndex: session.device?.index ?? 0,
        receiving: session.isReceiving,
        ...bypassed?.features,
        counters: allCounters(session, bypassed),
        lastReceivedMsAgo: lastReceivedMsAgo(table.lastHeardMs(session, now), now),
        resyncs: session.order?.resyncs ?? 0,
      };
    }),
  };
}

/** Returns the session's counters, including frames that bypassed the process. */
function allCounters(
  { counters }: PacketSession,
  bypassed: BypassedFrames | null,
): SessionCounters {
  if (bypassed === null) return counters;
  const { txPackets, txBytes, rxPackets, rxBytes } = bypassed;
  return {
    ...counters,
    txPackets: counters.txPackets + txPackets,
    txBytes: counters.txBytes + txBytes,
    rxPackets: counters.rxPackets + rxPackets,
    rxBytes: counters.rxBytes + rxBytes,
  };
}

function lastReceivedMsAgo(lastMs: number, now: number): number | null {
  return lastMs < 0 ? null : msAgo(lastMs, now);
}

function unexpectedSource(tunnel: PacketTunnel, now: number): UnexpectedSource | null {
  const { unexpectedSource: sockaddr, unexpectedSourceMs: lastMs } = tunnel;
  return lastMs < 0 ? null : { ...decodeSockaddr(sockaddr), msAgo: msAgo(lastMs, now) };
}

function msAgo(ms: number, now: number): number {
  return Math.round(now - ms);
}
