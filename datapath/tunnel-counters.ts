/** Counters of a tunnel: the sums over its sessions. Pure. */
import type { SessionState } from "./datapath.ts";

export interface Traffic {
  readonly txPackets: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
}

/** Returns the frames of the tunnel's sessions. */
export function trafficOf(sessions: readonly SessionState[]): Traffic {
  const { txPackets = 0, txBytes = 0, rxPackets = 0, rxBytes = 0 } = sessionCounters(sessions);
  return { txPackets, txBytes, rxPackets, rxBytes };
}

/** Returns the sum of each counter over the sessions. */
export function sessionCounters(
  sessions: readonly Pick<SessionState, "counters">[],
): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { counters } of sessions) {
    for (const [name, value] of Object.entries(counters)) sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}
