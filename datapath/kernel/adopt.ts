/**
 * Recognizes the kernel's tunnels and sessions that l2tp-cni created, without stored state: pure. A session is ours if
 * its device was created with one of our names (device-name.ts). A tunnel is ours if it contains such a session. The
 * device's label names the object.
 */
import { pickFeatures } from "../../model/features.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { kernelPseudowire, pseudowireField } from "../../model/pseudowires/index.ts";
import type { Names } from "../datapath.ts";
import { parseKernelDeviceName } from "./device-name.ts";
import type { KernelSession, KernelTunnel } from "./l2tp-netlink.ts";
import { KERNEL } from "./traits.ts";

/** Kernel tunnels that another datapath created from its sockets, and their sessions. */
export interface Claims {
  /** Tunnel names, by tunnel ID. */
  readonly tunnels: ReadonlyMap<number, string>;
  /** Session keys by session ID, for sessions whose label cannot be read. */
  readonly sessions: ReadonlyMap<number, string>;
}

export const NO_CLAIMS: Claims = { tunnels: new Map(), sessions: new Map() };

export interface Adopted {
  readonly tunnels: ReadonlyMap<string, { readonly tunnel: Tunnel; readonly raw: KernelTunnel }>;
  readonly sessions: ReadonlyMap<
    string,
    { readonly session: Session; readonly raw: KernelSession }
  >;
  /** Tunnels and sessions that l2tp-cni did not create, by their IDs. */
  readonly foreignTunnels: ReadonlyMap<number, KernelTunnel>;
  readonly foreignSessions: ReadonlyMap<number, KernelSession>;
}

/** True if l2tp-cni created the session: its device has one of our names. */
export function isOurSession({
  pseudowireType,
  interface: name,
  sessionId,
}: KernelSession): boolean {
  const named = parseKernelDeviceName(name);
  if (named?.sessionId !== sessionId) return false;
  return kernelPseudowire(pseudowireType, named.letter) !== undefined;
}

/** Divides the kernel's tunnels and sessions into ours, by name and key, and foreign ones, by ID. */
export function adopt(
  tunnels: readonly KernelTunnel[],
  sessions: readonly KernelSession[],
  names: Names,
  claims: Claims = NO_CLAIMS,
): Adopted {
  const known = new Map([...claims.sessions, ...names.sessions]);
  const keys = sessionKeys(sessions.filter(isOurSession), known);
  const inTunnels = Map.groupBy(keys, ([{ tunnelId }]) => tunnelId);
  const ours = new Map<string, { tunnel: Tunnel; raw: KernelTunnel }>();
  const foreignTunnels = new Map<number, KernelTunnel>();
  const namesById = new Map<number, string>();
  // The claimant names the tunnels that it claims, so they come first.
  const isClaimed = ({ tunnelId }: KernelTunnel) => claims.tunnels.has(tunnelId);
  const claimedFirst = [...tunnels.filter(isClaimed), ...tunnels.filter((raw) => !isClaimed(raw))];
  for (const raw of claimedFirst) {
    const inThere = inTunnels.get(raw.tunnelId);
    const claimed = claims.tunnels.get(raw.tunnelId);
    if (inThere === undefined && claimed === undefined) {
      foreignTunnels.set(raw.tunnelId, raw);
      continue;
    }
    const inside = (inThere ?? []).map(([, key]) => key);
    const known = claimed ?? names.tunnelName(raw.tunnelId, inside);
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
      sessions.filter((raw) => !isOurSession(raw)).map((raw) => [raw.sessionId, raw]),
    ),
  };
}

/**
 * Returns the keys of our sessions. A session without a label, or with the label of another session, gets a key that no
 * object has, and is deleted. So does each of several sessions with one ID: Linux 6.12 allows that, but only one of
 * them receives frames.
 */
function sessionKeys(
  ours: readonly KernelSession[],
  known: ReadonlyMap<number, string>,
): Map<KernelSession, string> {
  const namesakes = Map.groupBy(ours, ({ tunnelId, sessionId }) => `${tunnelId} ${sessionId}`);
  const taken = new Set<string>();
  const keys = new Map<KernelSession, string>();
  for (const [ids, raws] of namesakes) {
    for (const [index, raw] of raws.entries()) {
      const labelled = raws.length === 1 ? known.get(raw.sessionId) : undefined;
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
    datapath: KERNEL.name,
    tunnelId,
    peerTunnelId,
    encapsulation,
    local: { address: raw.local, port: raw.localPort },
    remote: { address: raw.remote, port: raw.remotePort },
    udpChecksum: raw.udpChecksum,
    ...pickFeatures({}),
  };
}

/** Returns the session that the kernel's session implements. The MTU is 0. */
export function adoptSession(key: string, tunnel: string, raw: KernelSession): Session {
  const { sessionId, peerSessionId, rxCookie, txCookie, reorderTimeoutMs } = raw;
  const named = parseKernelDeviceName(raw.interface);
  const type = kernelPseudowire(raw.pseudowireType, named?.letter ?? "");
  return {
    key,
    tunnel,
    sessionId,
    peerSessionId,
    l2SpecificSublayer: named?.l2SpecificSublayer ?? "Default",
    rxCookie,
    txCookie,
    sequencing: { send: raw.sendSequence, receive: raw.receiveSequence, reorderTimeoutMs },
    // The MTU is the device's.
    mtu: 0,
    ...(type === undefined ? {} : pseudowireField(type)),
  };
}
