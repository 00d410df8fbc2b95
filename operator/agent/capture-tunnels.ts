/** Captures a bounded number of a tunnel's datagrams for the doctor. The packet path is not involved. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import { sessionOnWire } from "../../datapath/on-wire.ts";
import { PacketCapture } from "../../linux/packet-capture.ts";
import type { PacketFilter } from "../../linux/packet-filter.ts";
import { IP_PROTOCOL, parseIpPacket } from "../../net/ip-packet.ts";
import { type TunnelWire, WireReader } from "./findings/wire.ts";

/** Each tunnel adds two filters to all packets of the node. */
const MAX_TUNNELS = 16;
/** Maximum number of datagrams of a tunnel. */
const MAX_DATAGRAMS = 4000;
const READ_MS = 50;
/** Maximum number of datagrams that one read takes from a capture. */
const MAX_AT_ONCE = 128;
/** A session that received within this time is not silent. */
const RECENT_MS = 30_000;

export interface Captured {
  /** The datagrams of each tunnel, by its name. */
  readonly wires: ReadonlyMap<string, TunnelWire>;
  readonly datagrams: number;
  /** The reason why capturing failed; null: it did not fail. */
  readonly problem: string | null;
}

interface TunnelCapture {
  readonly name: string;
  readonly reader: WireReader;
  readonly captures: readonly PacketCapture[];
  taken: number;
}

/** @param listing the programmed objects @param seconds duration of the capture; 0: no capture */
export async function captureTunnels(listing: Listing, seconds: number): Promise<Captured> {
  const open: TunnelCapture[] = [];
  let problem: string | null = null;
  for (const tunnel of seconds > 0 ? suspects(listing) : []) {
    try {
      open.push(openCapture(tunnel, listing));
    } catch (error) {
      problem ??= (error as Error).message;
    }
  }
  try {
    const end = performance.now() + seconds * 1000;
    for (let left = seconds * 1000; left > 0; left = end - performance.now()) {
      await sleep(Math.min(left, READ_MS));
      for (const each of open) read(each);
    }
  } finally {
    for (const { captures } of open) for (const capture of captures) capture.close();
  }
  return {
    wires: new Map(open.map(({ name, reader }) => [name, reader.result()])),
    datagrams: open.reduce((sum, { taken }) => sum + taken, 0),
    problem,
  };
}

/** Returns the tunnels to capture; tunnels with silent sessions come first. */
function suspects({ tunnels, sessions }: Listing): TunnelState[] {
  const inTunnels = Map.groupBy(sessions, ({ session }) => session.tunnel);
  const isSilent = ({ lastReceivedMsAgo }: SessionState) =>
    lastReceivedMsAgo === null || lastReceivedMsAgo > RECENT_MS;
  const doubt = ({ tunnel }: TunnelState) => {
    const inside = inTunnels.get(tunnel.name) ?? [];
    return inside.length === 0 ? 0 : inside.some(isSilent) ? 2 : 1;
  };
  return [...tunnels].sort((a, b) => doubt(b) - doubt(a)).slice(0, MAX_TUNNELS);
}

function openCapture(state: TunnelState, { sessions }: Listing): TunnelCapture {
  const { name, encapsulation, local } = state.tunnel;
  const { remote } = state.control ?? state.tunnel;
  const own = sessions.filter(({ session }) => session.tunnel === name);
  const others = new Set(
    sessions.flatMap((each) =>
      each.session.tunnel === name ? [] : (sessionOnWire(each)?.sessionId ?? []),
    ),
  );
  const reader = new WireReader(state, {
    sessions: own.flatMap((each) => sessionOnWire(each) ?? []),
    isOthers: (sessionId) => others.has(sessionId),
  });
  const protocol = encapsulation === "UDP" ? IP_PROTOCOL.udp : IP_PROTOCOL.l2tp;
  const filter = (takes: PacketFilter["takes"]) => ({ protocol, local, remote, takes });
  const between = new PacketCapture(filter("either port"));
  try {
    const captures = [between, new PacketCapture(filter("others"))];
    return { name, reader, captures, taken: 0 };
  } catch (error) {
    between.close();
    throw error;
  }
}

function read(capture: TunnelCapture): void {
  for (const each of capture.captures) {
    const room = Math.min(MAX_AT_ONCE, MAX_DATAGRAMS - capture.taken);
    if (room <= 0) return;
    for (const { outgoing, octets } of each.read(room)) {
      const packet = parseIpPacket(octets);
      if (packet === null) continue;
      capture.taken++;
      capture.reader.take({ outgoing, packet, payload: octets.subarray(packet.payloadAt) });
    }
  }
}
