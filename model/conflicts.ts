/** What a node's objects must not have in common. The losers are reported, the winners go on. */
import { formatEndpoint } from "../net/ip.ts";
import type { BoundDevice, Endpoint, Tunnel } from "./model.ts";
import type { FieldProblem } from "./problem.ts";
import { describeRemoteEndId, writeRemoteEndId } from "./remote-end-id.ts";

export interface Settled<T> {
  readonly accepted: readonly T[];
  /** By name or key. */
  readonly refused: ReadonlyMap<string, FieldProblem>;
}

/** An object keeps the claims with which it was accepted, for as long as it asks for them. */
export interface Held {
  /** As `tunnelClaims` and `sessionClaims` name them; null: everything that it asks for now. */
  readonly claims: readonly string[] | null;
  /** When it was accepted, in ISO 8601. */
  readonly since: string;
  /** It has been refused since then; an object that was accepted with a claim meanwhile comes first. */
  readonly isRefused?: true;
}

/** With what is decided once, and not claimed. */
export interface HeldObject extends Held {
  /** The tunnel ID or session ID. */
  readonly id?: number;
  /** How the peer knows a session. */
  readonly remoteEndId?: string;
  /** The datapath that a tunnel had last, as the API names it: one may have its local port to itself. */
  readonly datapath?: string;
}

/** Things that only one object of the node may have, and what to say to the others. */
interface Claim<T> {
  /** By their names: readable, since the status of objects shows them. */
  readonly of: (item: T) => readonly string[];
  /** True if two objects may both have one, by their names; if left out, they may not. */
  readonly canShare?: (name: string, holder: string) => boolean;
  /** @param lost which of them another object has */
  readonly problem: (item: T, holder: string, lost: string) => FieldProblem;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Holders come first: those that are accepted, then refused ones, the oldest first. Then by name. */
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
 * The claims that are kept for their holders. A holder need not be among `items`: it may be broken.
 * An object that is here, and asks for something else by now, has let go.
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
 * Gives every claim to one object: to the object that was accepted with it, so that a new one never
 * takes anything from another, else to the first by name.
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

/** Objects that hold what they ask for now: those that run, where nothing else is known of them. */
export function holdAll(names: Iterable<string>): Map<string, Held> {
  return new Map(Array.from(names, (name) => [name, { claims: null, since: "" }]));
}

/** A tunnel as far as it claims something. */
export interface TunnelClaim extends Pick<Tunnel, "name" | "tunnelId" | "encapsulation"> {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Each VRF has addresses of its own. */
  readonly device?: BoundDevice;
  /** Its addresses alone tell its session from others. */
  readonly keyed?: boolean;
  /** Where there is a control connection. */
  readonly control?: { readonly backups: readonly Endpoint[] };
}

const TUNNEL_CLAIMS: readonly Claim<TunnelClaim>[] = [
  {
    of: ({ tunnelId }) => [`tunnel ID ${tunnelId}`],
    problem: ({ tunnelId }, holder) => ({
      path: "spec.tunnelId",
      value: tunnelId,
      reason: `L2tpTunnel ${holder} of this node has it`,
      remedy: "choose another, or leave it out",
    }),
  },
  {
    // Over IP the id tells tunnels apart.
    of: ({ encapsulation, local, remote, device }) =>
      encapsulation === "IP"
        ? []
        : [`UDP ${formatEndpoint(local)}${by(device)} to ${formatEndpoint(remote)}`],
    problem: ({ local, remote }, holder) => ({
      path: "spec.remote",
      value: remote,
      reason: `L2tpTunnel ${holder} runs between the same addresses and ports`,
      remedy: `choose another local or remote port than ${local.port} and ${remote.port}`,
    }),
  },
  {
    of: ({ keyed, local, remote, device }) =>
      keyed === true ? [`keyed IP ${local.address}${by(device)} to ${remote.address}`] : [],
    problem: ({ local, remote }, holder) => ({
      path: "spec.local.address",
      value: local.address,
      reason: `L2tpTunnel ${holder} is the keyed tunnel between it and ${remote.address}`,
      remedy:
        "use another local or remote address: the pair tells a keyed tunnel's session from others",
    }),
  },
  {
    // A peer's first message says no more than where it comes from.
    of: (claim) => peersOf(claim).map((address) => peerKey(claim, address)),
    problem: (claim, holder, lost) => {
      const peers = peersOf(claim);
      const index = peers.findIndex((address) => peerKey(claim, address) === lost);
      return {
        path: index <= 0 ? "spec.control" : `spec.backup[${index - 1}]`,
        value: undefined,
        reason: `L2tpTunnel ${holder} has the control connection between ${claim.local.address} and ${peers[index]}`,
        remedy: "put the sessions into that one, or choose another local port",
      };
    },
  },
];

/** The claims of the tunnel. */
export function tunnelClaims(tunnel: TunnelClaim): string[] {
  return TUNNEL_CLAIMS.flatMap(({ of }) => of(tunnel));
}

/** @param held by name; also of tunnels that cannot be settled now, and must lose nothing */
export function settleTunnels<T extends TunnelClaim>(
  tunnels: readonly T[],
  held: ReadonlyMap<string, Held>,
): Settled<T> {
  return settle(tunnels, ({ name }) => name, held, TUNNEL_CLAIMS);
}

/** With whom it has control connections. */
function peersOf({ remote, control }: TunnelClaim): string[] {
  if (control === undefined) return [];
  return [remote, ...control.backups].map(({ address }) => address);
}

function peerKey({ encapsulation, local, device }: TunnelClaim, peer: string): string {
  return `control connection ${encapsulation} ${formatEndpoint(local)}${by(device)} to ${peer}`;
}

const by = (device: BoundDevice | undefined) => (device === undefined ? "" : ` by ${device.name}`);

/** A session as far as it claims something. */
export interface SessionClaim {
  /** "namespace/name". */
  readonly key: string;
  readonly tunnel: string;
  readonly sessionId: number;
  /** How the session finds its circuit at the peer; null: nothing says so. */
  readonly circuit:
    | { readonly remoteEndId: string }
    | { readonly peerSessionId: number; readonly peer: Endpoint }
    | null;
  /** Its tunnel is keyed: it carries one session, of any ID. */
  readonly isKeyed?: boolean;
  /** Claims of its circuit, as it was accepted with them, where nobody can say how it finds it now. */
  readonly kept?: readonly string[];
}

const SESSION_ID = "session ID";
const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));

/** The field that says it, and what it says. */
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
      reason: `L2tpSession ${holder} is in it, and a keyed tunnel carries one session`,
      remedy: "create another keyed tunnel, with another pair of addresses",
    }),
  },
  {
    of: ({ sessionId, isKeyed }) => (isKeyed === true ? [] : [`${SESSION_ID} ${sessionId}`]),
    problem: ({ sessionId }, holder) => ({
      path: "spec.sessionId",
      value: sessionId,
      reason: `L2tpSession ${holder} of this node has it`,
      remedy: "choose another, or leave it out",
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
      reason: `L2tpSession ${holder} has this circuit of L2tpTunnel ${tunnel}`,
      remedy: "give the Remote End ID of another circuit, as the peer knows it",
    }),
  },
  {
    of: ({ circuit }) =>
      circuit !== null && "peer" in circuit
        ? [`peer session ID ${circuit.peerSessionId} at ${formatEndpoint(circuit.peer)}`]
        : [],
    // One tenant may send into its own circuit twice.
    canShare: (key, holder) => namespaceOf(key) === namespaceOf(holder),
    problem: ({ circuit }, holder) => ({
      path: "spec.peerSessionId",
      value: circuit !== null && "peer" in circuit ? circuit.peerSessionId : undefined,
      reason: `L2tpSession ${holder} sends to this session of the same peer`,
      remedy: "give the ID of another session of the peer",
    }),
  },
  {
    of: ({ kept = [] }) => kept,
    canShare: (key, holder) => namespaceOf(key) === namespaceOf(holder),
    problem: ({ tunnel }, holder, lost) => ({
      path: "spec.tunnelRef",
      value: { name: tunnel },
      reason: `L2tpSession ${holder} has its circuit (${lost})`,
      remedy: "correct the tunnel",
    }),
  },
];

/** Those of the claims that are about the session's circuit. */
export function circuitClaims(claims: readonly string[]): string[] {
  return claims.filter((claim) => !claim.startsWith(SESSION_ID));
}

/** The claims of the session. */
export function sessionClaims(session: SessionClaim): string[] {
  return SESSION_CLAIMS.flatMap(({ of }) => of(session));
}

/** @param held by key; also of sessions that cannot be settled now, and must lose nothing */
export function settleSessions<S extends SessionClaim>(
  sessions: readonly S[],
  held: ReadonlyMap<string, Held>,
): Settled<S> {
  return settle(sessions, ({ key }) => key, held, SESSION_CLAIMS);
}

/**
 * The Remote End ID of a session that names none: both ends have the same if both are L2tpSessions of
 * the same namespace and name, and no two sessions of a node have the same.
 */
export function defaultRemoteEndId(key: string): string {
  return key;
}

/**
 * An id for an object that names none: from its name, so that it is the same after a restart, and the
 * next free one where that is taken.
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
