/** The node's raw L2TP state in one list: what both data planes hold, ours or not. Pure. */
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import type { KernelObjects } from "../../datapath/kernel/kernel.ts";
import type { KernelSession, KernelTunnel } from "../../datapath/kernel/l2tp-netlink.ts";
import { isControlHalf, wholeName } from "../../model/halves.ts";
import { DEFAULT_PSEUDOWIRE } from "../../model/pseudowires/index.ts";
import { PSEUDOWIRE_WORDS } from "../../net/headers.ts";
import { formatEndpoint } from "../../net/ip.ts";
import type { DumpRow } from "../agent-protocol.ts";

/** @param listing what is ours, in halves, and all that userspace has: a control half is in its kernel's row */
export function dumpRows(listing: Listing, { tunnels, sessions }: KernelObjects): DumpRow[] {
  const kernelSessions = Map.groupBy(sessions, ({ tunnelId }) => tunnelId);
  const owners = ownersOf(listing);
  const kernelRows = tunnels.flatMap((tunnel) => [
    kernelTunnelRow(tunnel, owners),
    ...(kernelSessions.get(tunnel.tunnelId) ?? []).map((item) => kernelSessionRow(item, owners)),
  ]);
  const userspace = listing.tunnels.filter(
    ({ tunnel }) => tunnel.datapath === "Userspace" && !isControlHalf(tunnel.name),
  );
  const userspaceRows = userspace.flatMap((state) => [
    userspaceTunnelRow(state),
    ...listing.sessions
      .filter(
        ({ session, datapath }) => datapath === "Userspace" && session.tunnel === state.tunnel.name,
      )
      .map((session) => userspaceSessionRow(state, session)),
  ]);
  return [...kernelRows, ...userspaceRows];
}

interface Owners {
  readonly tunnels: ReadonlyMap<number, string>;
  readonly sessions: ReadonlyMap<number, string>;
}

function ownersOf({ tunnels, sessions }: Listing): Owners {
  return {
    tunnels: new Map(
      tunnels.flatMap(({ tunnel: { datapath, tunnelId, name } }): [number, string][] =>
        datapath === "Kernel" || isControlHalf(name)
          ? [[tunnelId, `L2tpTunnel ${wholeName(name)}`]]
          : [],
      ),
    ),
    sessions: new Map(
      sessions.flatMap(({ datapath, session: { sessionId, key } }): [number, string][] =>
        datapath === "Kernel" ? [[sessionId, `L2tpSession ${key}`]] : [],
      ),
    ),
  };
}

function kernelTunnelRow(tunnel: KernelTunnel, owners: Owners): DumpRow {
  const { tunnelId, peerTunnelId, protocolVersion, encapsulation, statistics } = tunnel;
  const local = formatEndpoint({ address: tunnel.local, port: tunnel.localPort });
  const remote = formatEndpoint({ address: tunnel.remote, port: tunnel.remotePort });
  return {
    datapath: "Kernel",
    tunnelId,
    sessionId: null,
    peerId: peerTunnelId,
    type: `L2TPv${protocolVersion} ${encapsulation}`,
    endpoints: `${local} ${remote}`,
    interface: "",
    owner: owners.tunnels.get(tunnelId) ?? null,
    settings: [
      ...(tunnel.udpChecksum ? [] : ["no-checksum"]),
      ...(tunnel.usingIpsec ? ["ipsec"] : []),
    ],
    counters: { ...statistics },
  };
}

function kernelSessionRow(session: KernelSession, owners: Owners): DumpRow {
  const { tunnelId, sessionId, peerSessionId, pseudowireType, statistics } = session;
  return {
    datapath: "Kernel",
    tunnelId,
    sessionId,
    peerId: peerSessionId,
    type: PSEUDOWIRE_WORDS[pseudowireType] ?? `pseudowire type ${pseudowireType}`,
    endpoints: "",
    interface: session.interface,
    owner: owners.sessions.get(sessionId) ?? null,
    settings: [
      ...settings(session, session.sendSequence, session.receiveSequence, session.reorderTimeoutMs),
      ...(session.lnsMode ? ["lns"] : []),
    ],
    counters: { ...statistics },
  };
}

/** The lengths of cookies, not the cookies. */
function settings(
  { rxCookie, txCookie }: { readonly rxCookie: string; readonly txCookie: string },
  send: boolean,
  receive: boolean,
  reorderTimeoutMs: number,
): string[] {
  const sequence = [...(send ? ["send"] : []), ...(receive ? ["receive"] : [])];
  return [
    ...(rxCookie || txCookie ? [`cookies=${rxCookie.length / 2}/${txCookie.length / 2}`] : []),
    ...(sequence.length > 0 ? [`seq=${sequence.join(",")}`] : []),
    ...(reorderTimeoutMs > 0 ? [`reorder=${reorderTimeoutMs}ms`] : []),
  ];
}

function userspaceTunnelRow({ tunnel, control, endpoint }: TunnelState): DumpRow {
  return {
    datapath: "Userspace",
    tunnelId: tunnel.tunnelId,
    sessionId: null,
    peerId: tunnel.peerTunnelId,
    type: `L2TPv3 ${tunnel.encapsulation}`,
    endpoints: `${formatEndpoint(tunnel.local)} ${formatEndpoint((control ?? tunnel).remote)}`,
    interface: "",
    owner: `L2tpTunnel ${tunnel.name}`,
    settings: tunnel.udpChecksum ? [] : ["no-checksum"],
    counters: { ...endpoint },
  };
}

function userspaceSessionRow(
  { tunnel }: TunnelState,
  { session, counters }: SessionState,
): DumpRow {
  const { send, receive, reorderTimeoutMs } = session.sequencing;
  return {
    datapath: "Userspace",
    tunnelId: tunnel.tunnelId,
    sessionId: session.sessionId,
    peerId: session.peerSessionId,
    type: session.pseudowireType ?? DEFAULT_PSEUDOWIRE.name,
    endpoints: "",
    interface: "",
    owner: `L2tpSession ${session.key}`,
    settings: settings(session, send, receive, reorderTimeoutMs),
    counters: { ...counters },
  };
}
