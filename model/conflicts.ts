/** Conflicts between a node's objects. Losers are refused; winners are not affected. */
import { formatEndpoint } from "../net/ip.ts";
import type { BoundDevice, Endpoint, Tunnel } from "./model.ts";
import type { FieldProblem } from "./problem.ts";
import { describeRemoteEndId, writeRemoteEndId } from "./remote-end-id.ts";

export interface Settled<T> {
  readonly accepted: readonly T[];
  /** Problems of losers, by name or key. */
  readonly refused: ReadonlyMap<string, FieldProblem>;
}

/** The claims of an accepted object, which it keeps while its spec asks for them. */
export interface Held {
  /** Names from `tunnelClaims` and `sessionClaims`; null: all that its spec asks for now. */
  readonly claims: readonly string[] | null;
  /** Time of acceptance, in ISO 8601. */
  readonly since: string;
  /** It was refused later; an object that was accepted with the claim meanwhile has precedence. */
  readonly isRefused?: true;
}

/** Held claims, and values that are decided once and not claimed. */
export interface HeldObject extends Held {
  /** The tunnel ID or session ID. */
  readonly id?: number;
  /** The session's Remote End ID. */
  readonly remoteEndId?: string;
  /** The tunnel's last datapath, by the API's name. Tunnels of some datapaths do not share their port. */
  readonly datapath?: string;
}

/** A kind of claim, which one object of the node can have, and the problem of an object that cannot have it. */
interface Claim<T> {
  /** Returns the names of the item's claims: readable, because the status shows them. */
  readonly of: (item: T) => readonly string[];
  /** True if both objects can have the claim. Absent: never. */
  readonly canShare?: (name: string, holder: string) => boolean;
  /** @param lost the claim that the holder has */
  readonly problem: (item: T, holder: string, lost: string) => FieldProblem;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Sorts by precedence: accepted holders, refused holders, others; then the oldest first; then by name. */
function inOrder(names: Iterable<string>, held: ReadonlyMap<string, Held>): string[] {
  const holds = (name: string) => {
    const claims = held.get(name)?.claims;
    return claims === null || (claims?.length ?? 0) > 0;
  };
  const rank = (name: string) => (!holds(name) ? 2 : held.get(name)?.isRefused ? 1 : 0);
  const since = (name: string) => held.get(name)?.since ?? "";
  return [...names].sort(
    (a, b) => rank(a) - rank(b) || compare(since(a), since(b)) || compare(a, b),
  );
}

/**
 * Returns the claims that are reserved for their holders. A holder that is not among `items` is invalid, and keeps its
 * claims. A holder whose spec no longer asks for a claim loses it.
 */
function reservations<T>(
  items: ReadonlyMap<string, T>,
  held: ReadonlyMap<string, Held>,
  wishesOf: (item: T) => readonly string[],
): Map<string, string> {
  const reserved = new Map<string, string>();
  for (const name of inOrder(held.keys(), held)) {
    const item = items.get(name);
    const wishes = item === undefined ? null : wishesOf(item);
    const claims = held.get(name)?.claims ?? wishes ?? [];
    for (const key of claims) {
      if ((wishes === null || wishes.includes(key)) && !reserved.has(key)) reserved.set(key, name);
    }
  }
  return reserved;
}

/**
 * Assigns each claim to one object: to its holder, so that a new object never takes a claim from another, else to the
 * first object by name.
 */
function settle<T>(
  items: readonly T[],
  nameOf: (item: T) => string,
  held: ReadonlyMap<string, Held>,
  claims: readonly Claim<T>[],
): Settled<T> {
  const byName = new Map(items.map((item) => [nameOf(item), item]));
  const holders = reservations(byName, held, (item) => claims.flatMap(({ of }) => of(item)));
  const accepted: T[] = [];
  const refused = new Map<string, FieldProblem>();
  for (const name of inOrder(byName.keys(), held)) {
    const item = byName.get(name);
    if (item === undefined) continue;
    const lost = claims.flatMap(({ of, canShare, problem }) =>
      of(item).flatMap((key) => {
        const holder = holders.get(key) ?? name;
        if (holder === name || canShare?.(name, holder)) return [];
        return [problem(item, holder, key)];
      }),
    );
    const [problem] = lost;
    if (problem !== undefined) {
      refused.set(name, problem);
      continue;
    }
    for (const key of claims.flatMap(({ of }) => of(item))) {
      if (!holders.has(key)) holders.set(key, name);
    }
    accepted.push(item);
  }
  return { accepted, refused };
}

/** Returns held claims for objects of unknown claims: each holds all that its spec asks for. */
export function holdAll(names: Iterable<string>): Map<string, Held> {
  return new Map(Array.from(names, (name) => [name, { claims: null, since: "" }]));
}

/** The fields of a tunnel that make claims. */
export interface TunnelClaim extends Pick<Tunnel, "name" | "tunnelId" | "encapsulation"> {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** The VRF: each VRF has its own addresses. */
  readonly device?: BoundDevice;
  /** True if the pair of addresses identifies its session (RFC 8159). */
  readonly keyed?: boolean;
  /** Absent without a control connection. */
  readonly control?: { readonly backups: readonly Endpoint[] };
}

const TUNNEL_CLAIMS: readonly Claim<TunnelClaim>[] = [
  {
    of: ({ tunnelId }) => [`tunnel ID ${tunnelId}`],
    problem: ({ tunnelId }, holder) => ({
      path: "spec.tunnelId",
      value: tunnelId,
      reason: `already used by L2tpTunnel ${holder} on this node`,
      remedy: "use another ID, or omit tunnelId",
    }),
  },
  {
    // Over IP, session IDs distinguish tunnels between the same addresses.
    of: ({ encapsulation, local, remote, device }) =>
      encapsulation === "IP"
        ? []
        : [`UDP ${formatEndpoint(local)}${by(device)} to ${formatEndpoint(remote)}`],
    problem: ({ local, remote }, holder) => ({
      path: "spec.remote",
      value: remote,
      reason: `L2tpTunnel ${holder} uses the same addresses and ports`,
      remedy: `change spec.local.port (${local.port}) or spec.remote.port (${remote.port})`,
    }),
  },
  {
    of: ({ keyed, local, remote, device }) =>
      keyed === true ? [`keyed IP ${local.address}${by(device)} to ${remote.address}`] : [],
    problem: ({ local, remote }, holder) => ({
      path: "spec.local.address",
      value: local.address,
      reason: `keyed L2tpTunnel ${holder} uses it with remote address ${remote.address}`,
      remedy: "use another local or remote address; the pair must be unique among keyed tunnels",
    }),
  },
  {
    // Only its source address identifies the sender of a first message.
    of: (claim) => peersOf(claim).map((address) => peerKey(claim, address)),
    problem: (claim, holder, lost) => {
      const peers = peersOf(claim);
      const index = peers.findIndex((address) => peerKey(claim, address) === lost);
      return {
        path: index <= 0 ? "spec.control" : `spec.backup[${index - 1}]`,
        value: undefined,
        reason: `L2tpTunnel ${holder} already has a control connection between ${claim.local.address} and ${peers[index]}`,
        remedy: "move the sessions to that tunnel, or use another local port",
      };
    },
  },
];

/** Returns the names of the tunnel's claims. */
export function tunnelClaims(tunnel: TunnelClaim): string[] {
  return TUNNEL_CLAIMS.flatMap(({ of }) => of(tunnel));
}

/** Resolves conflicts between tunnels. @param held by name; also of invalid tunnels, which keep their claims */
export function settleTunnels<T extends TunnelClaim>(
  tunnels: readonly T[],
  held: ReadonlyMap<string, Held>,
): Settled<T> {
  return settle(tunnels, ({ name }) => name, held, TUNNEL_CLAIMS);
}

/** Returns the addresses of the tunnel's peers with control connections. */
function peersOf({ remote, control }: TunnelClaim): string[] {
  if (control === undefined) return [];
  return [remote, ...control.backups].map(({ address }) => address);
}

function peerKey({ encapsulation, local, device }: TunnelClaim, peer: string): string {
  return `control connection ${encapsulation} ${formatEndpoint(local)}${by(device)} to ${peer}`;
}

const by = (device: BoundDevice | undefined) => (device === undefined ? "" : ` by ${device.name}`);

/** The fields of a session that make claims. */
export interface SessionClaim {
  /** "namespace/name". */
  readonly key: string;
  readonly tunnel: string;
  readonly sessionId: number;
  /** Identifies the session's circuit at the peer; null: unknown. */
  readonly circuit:
    | { readonly remoteEndId: string }
    | { readonly peerSessionId: number; readonly peer: Endpoint }
    | null;
  /** True if its tunnel is keyed: the tunnel has one session, and the session ID need not be unique. */
  readonly isKeyed?: boolean;
  /** The node interface that it is connected to. */
  readonly nodeInterface?: string;
  /** Held claims of its circuit, if its present circuit cannot be determined. */
  readonly kept?: readonly string[];
}

const SESSION_ID = "session ID";
const INTERFACE = "node interface";
const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));

/** Returns the field of the Remote End ID, and its value. */
function namedField(name: string): Pick<FieldProblem, "path" | "value"> {
  const { remoteEndId, remoteEndIdOctets } = writeRemoteEndId(name);
  return remoteEndIdOctets === undefined
    ? { path: "spec.remoteEndId", value: remoteEndId }
    : { path: "spec.remoteEndIdOctets", value: remoteEndIdOctets };
}

const SESSION_CLAIMS: readonly Claim<SessionClaim>[] = [
  {
    of: ({ isKeyed, tunnel }) =>
      isKeyed === true ? [`${SESSION_ID} of keyed L2tpTunnel ${tunnel}`] : [],
    problem: ({ tunnel }, holder) => ({
      path: "spec.tunnelRef",
      value: { name: tunnel },
      reason: `L2tpSession ${holder} uses this tunnel, and a keyed tunnel has only one session`,
      remedy: "create another keyed tunnel with another pair of addresses",
    }),
  },
  {
    of: ({ sessionId, isKeyed }) => (isKeyed === true ? [] : [`${SESSION_ID} ${sessionId}`]),
    problem: ({ sessionId }, holder) => ({
      path: "spec.sessionId",
      value: sessionId,
      reason: `already used by L2tpSession ${holder} on this node`,
      remedy: "use another ID, or omit sessionId",
    }),
  },
  {
    of: ({ circuit, tunnel }) =>
      circuit !== null && "remoteEndId" in circuit
        ? [`Remote End ID ${describeRemoteEndId(circuit.remoteEndId)} in L2tpTunnel ${tunnel}`]
        : [],
    problem: ({ circuit, tunnel }, holder) => ({
      ...(circuit !== null && "remoteEndId" in circuit
        ? namedField(circuit.remoteEndId)
        : { path: "spec.remoteEndId", value: undefined }),
      reason: `already used by L2tpSession ${holder} in L2tpTunnel ${tunnel}`,
      remedy: "use the Remote End ID of another circuit of the peer",
    }),
  },
  {
    of: ({ circuit }) =>
      circuit !== null && "peer" in circuit
        ? [`peer session ID ${circuit.peerSessionId} at ${formatEndpoint(circuit.peer)}`]
        : [],
    // Sessions of one namespace can send to the same circuit.
    canShare: (key, holder) => namespaceOf(key) === namespaceOf(holder),
    problem: ({ circuit }, holder) => ({
      path: "spec.peerSessionId",
      value: circuit !== null && "peer" in circuit ? circuit.peerSessionId : undefined,
      reason: `already used by L2tpSession ${holder} for the same peer`,
      remedy: "use the ID of another session of the peer",
    }),
  },
  {
    of: ({ nodeInterface }) =>
      nodeInterface === undefined ? [] : [`${INTERFACE} ${nodeInterface}`],
    // Several sessions of a namespace can be ports of one bridge.
    canShare: (key, holder) => namespaceOf(key) === namespaceOf(holder),
    problem: ({ nodeInterface }, holder) => ({
      path: "spec.attachment.interface",
      value: nodeInterface,
      reason: `L2tpSession ${holder} uses this node interface`,
      remedy: "use another interface",
    }),
  },
  {
    of: ({ kept = [] }) => kept,
    canShare: (key, holder) => namespaceOf(key) === namespaceOf(holder),
    problem: ({ tunnel }, holder, lost) => ({
      path: "spec.tunnelRef",
      value: { name: tunnel },
      reason: `L2tpSession ${holder} already has the circuit of this session (${lost})`,
      remedy: "correct the tunnel",
    }),
  },
];

/** Returns the claims of the session's circuit. */
export function circuitClaims(claims: readonly string[]): string[] {
  return claims.filter((claim) => !claim.startsWith(SESSION_ID) && !claim.startsWith(INTERFACE));
}

/** Returns the names of the session's claims. */
export function sessionClaims(session: SessionClaim): string[] {
  return SESSION_CLAIMS.flatMap(({ of }) => of(session));
}

/** Resolves conflicts between sessions. @param held by key; also of invalid sessions, which keep their claims */
export function settleSessions<S extends SessionClaim>(
  sessions: readonly S[],
  held: ReadonlyMap<string, Held>,
): Settled<S> {
  return settle(sessions, ({ key }) => key, held, SESSION_CLAIMS);
}

/**
 * Returns the default Remote End ID. It is the same at both ends if both are L2tpSessions of the same namespace and
 * name, and unique among the sessions of a node.
 */
export function defaultRemoteEndId(key: string): string {
  return key;
}

/**
 * Returns an ID for an object without one: a hash of its name, so that it is the same after a restart, or the next free
 * ID.
 */
export function allocateId(name: string, taken: ReadonlySet<number>): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < name.length; i++) {
    // FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193) >>> 0;
  }
  let id = hash === 0 ? 1 : hash;
  while (taken.has(id)) id = id === 0xffff_ffff ? 1 : id + 1;
  return id;
}
