/** The node's raw L2TP state: all tunnels and sessions in the kernel, including foreign ones. Pure. */
import { forwardedSession } from "../../model/datapath.ts";
import { kernelPseudowire } from "../../model/pseudowires/index.ts";
import { PSEUDOWIRE_WORDS } from "../../net/headers.ts";
import { formatEndpoint } from "../../net/ip.ts";
import { type DumpEntry, dumpSettings, type Listing } from "../datapath.ts";
import { parseKernelDeviceName } from "./device-name.ts";
import type { KernelObjects } from "./kernel.ts";
import type { KernelSession, KernelTunnel } from "./l2tp-netlink.ts";
import { KERNEL } from "./traits.ts";

/** @param listing our tunnels and sessions in the kernel */
export function dumpRows(listing: Listing, { tunnels, sessions }: KernelObjects): DumpEntry[] {
  const kernelSessions = Map.groupBy(sessions, ({ tunnelId }) => tunnelId);
  const owners = ownersOf(listing);
  return tunnels.flatMap((tunnel) => [
    tunnelRow(tunnel, owners),
    ...(kernelSessions.get(tunnel.tunnelId) ?? []).map((item) => sessionRow(item, owners)),
  ]);
}

interface Owners {
  readonly tunnels: ReadonlyMap<number, string>;
  readonly sessions: ReadonlyMap<number, string>;
}

function ownersOf({ tunnels, sessions }: Listing): Owners {
  return {
    tunnels: new Map(
      tunnels.map(({ tunnel: { tunnelId, name } }) => [tunnelId, `L2tpTunnel ${name}`]),
    ),
    sessions: new Map(
      sessions.flatMap((state): [number, string][] => {
        const forwarded = forwardedSession(state);
        return forwarded === null ? [] : [[forwarded.sessionId, `L2tpSession ${forwarded.key}`]];
      }),
    ),
  };
}

function tunnelRow(tunnel: KernelTunnel, owners: Owners): DumpEntry {
  const { tunnelId, peerTunnelId, protocolVersion, encapsulation, statistics } = tunnel;
  const local = formatEndpoint({ address: tunnel.local, port: tunnel.localPort });
  const remote = formatEndpoint({ address: tunnel.remote, port: tunnel.remotePort });
  return {
    datapath: KERNEL.apiName,
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

/** Returns the name of the pseudowire type. Several of our types can have the same number in the kernel. */
function typeOf({ interface: name, pseudowireType }: KernelSession): string {
  const { letter = "" } = parseKernelDeviceName(name) ?? {};
  const ours = kernelPseudowire(pseudowireType, letter);
  return ours ?? PSEUDOWIRE_WORDS[pseudowireType] ?? `pseudowire type ${pseudowireType}`;
}

function sessionRow(session: KernelSession, owners: Owners): DumpEntry {
  const { tunnelId, sessionId, peerSessionId, statistics } = session;
  return {
    datapath: KERNEL.apiName,
    tunnelId,
    sessionId,
    peerId: peerSessionId,
    type: typeOf(session),
    endpoints: "",
    interface: session.interface,
    owner: owners.sessions.get(sessionId) ?? null,
    settings: [
      ...dumpSettings(
        session,
        session.sendSequence,
        session.receiveSequence,
        session.reorderTimeoutMs,
      ),
      ...(session.lnsMode ? ["lns"] : []),
    ],
    counters: { ...statistics },
  };
}
