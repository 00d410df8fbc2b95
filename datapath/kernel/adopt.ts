/**
 * Tells which of the kernel's tunnels and sessions are ours, with nothing to remember: pure. The name
 * under which a session's device was made says that the session is ours (model/device-name.ts), and its
 * sessions say it of a tunnel. Whose it is, of our objects, the device's label says.
 */
import { parseKernelDeviceName } from "../../model/device-name.ts";
import { pickFeatures } from "../../model/features.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { kernelPseudowire, pseudowireField } from "../../model/pseudowires/index.ts";
import type { KernelSession, KernelTunnel } from "./l2tp-netlink.ts";

/** What is known of our objects beside what the kernel tells. */
export interface Names {
  /** By session id: the key of the session whose label is on the device. */
  readonly sessions: ReadonlyMap<number, string>;
  /** The name of the tunnel with that id; `sessions`: the keys of those in it. */
  tunnelName(tunnelId: number, sessions: readonly string[]): string | undefined;
  /** By tunnel id: whose socket the datapath process has given the kernel. */
  readonly held?: ReadonlyMap<number, string>;
}

export interface Adopted {
  readonly tunnels: ReadonlyMap<string, { readonly tunnel: Tunnel; readonly raw: KernelTunnel }>;
  readonly sessions: ReadonlyMap<
    string,
    { readonly session: Session; readonly raw: KernelSession }
  >;
  /** By their ids: what somebody else made. */
  readonly foreignTunnels: ReadonlyMap<number, KernelTunnel>;
  readonly foreignSessions: ReadonlyMap<number, KernelSession>;
}

/** Whether we made the session: nobody else gives its device such a name. */
export function isOurs({ pseudowireType, interface: name, sessionId }: KernelSession): boolean {
  if (kernelPseudowire(pseudowireType) === undefined) return false;
  return parseKernelDeviceName(name)?.sessionId === sessionId;
}

export function adopt(
  tunnels: readonly KernelTunnel[],
  sessions: readonly KernelSession[],
  names: Names,
): Adopted {
  const keys = sessionKeys(sessions.filter(isOurs), names);
  const inTunnels = Map.groupBy(keys, ([{ tunnelId }]) => tunnelId);
  const ours = new Map<string, { tunnel: Tunnel; raw: KernelTunnel }>();
  const foreignTunnels = new Map<number, KernelTunnel>();
  const namesById = new Map<number, string>();
  for (const raw of tunnels) {
    const inThere = inTunnels.get(raw.tunnelId);
    const held = names.held?.get(raw.tunnelId);
    if (inThere === undefined) {
      if (held === undefined) foreignTunnels.set(raw.tunnelId, raw);
      continue;
    }
    const known =
      held ??
      names.tunnelName(
        raw.tunnelId,
        inThere.map(([, key]) => key),
      );
    const name = known === undefined || ours.has(known) ? `kernel tunnel ${raw.tunnelId}` : known;
    namesById.set(raw.tunnelId, name);
    ours.set(name, { raw, tunnel: adoptTunnel(name, raw) });
  }
  return {
    tunnels: ours,
    sessions: new Map(
      Array.from(keys, ([raw, key]) => {
        const tunnel = namesById.get(raw.tunnelId) ?? `kernel tunnel ${raw.tunnelId}`;
        return [key, { raw, session: adoptSession(key, tunnel, raw) }];
      }),
    ),
    foreignTunnels,
    foreignSessions: new Map(
      sessions.filter((raw) => !isOurs(raw)).map((raw) => [raw.sessionId, raw]),
    ),
  };
}

/**
 * The keys of our sessions; one without a label, or with that of another, gets one that nobody wants. So do all of
 * several with one id: Linux 6.12 allows that, and only one of them gets the frames.
 */
function sessionKeys(ours: readonly KernelSession[], names: Names): Map<KernelSession, string> {
  const namesakes = Map.groupBy(ours, ({ tunnelId, sessionId }) => `${tunnelId} ${sessionId}`);
  const taken = new Set<string>();
  const keys = new Map<KernelSession, string>();
  for (const [ids, raws] of namesakes) {
    for (const [index, raw] of raws.entries()) {
      const labelled = raws.length === 1 ? names.sessions.get(raw.sessionId) : undefined;
      const isFree = labelled !== undefined && !taken.has(labelled);
      const key = isFree
        ? labelled
        : `kernel session ${ids}${index === 0 ? "" : ` (${index + 1})`}`;
      taken.add(key);
      keys.set(raw, key);
    }
  }
  return keys;
}

function adoptTunnel(name: string, raw: KernelTunnel): Tunnel {
  const { tunnelId, peerTunnelId, encapsulation } = raw;
  return {
    name,
    datapath: "Kernel",
    tunnelId,
    peerTunnelId,
    encapsulation,
    local: { address: raw.local, port: raw.localPort },
    remote: { address: raw.remote, port: raw.remotePort },
    udpChecksum: raw.udpChecksum,
    ...pickFeatures({}),
  };
}

export function adoptSession(key: string, tunnel: string, raw: KernelSession): Session {
  const { sessionId, peerSessionId, rxCookie, txCookie, reorderTimeoutMs } = raw;
  const named = parseKernelDeviceName(raw.interface);
  const type = kernelPseudowire(raw.pseudowireType);
  return {
    key,
    tunnel,
    sessionId,
    peerSessionId,
    l2SpecificSublayer: named?.l2SpecificSublayer ?? "Default",
    rxCookie,
    txCookie,
    sequencing: { send: raw.sendSequence, receive: raw.receiveSequence, reorderTimeoutMs },
    // The device has it.
    mtu: 0,
    ...(type === undefined ? {} : pseudowireField(type)),
  };
}
