/** What a node's objects must not have in common. The losers are reported, the winners go on. */
import type { Session, Tunnel } from "./model.ts";
import type { FieldProblem } from "./problem.ts";

export interface Settled<T> {
  readonly accepted: readonly T[];
  /** By name or key. */
  readonly refused: ReadonlyMap<string, FieldProblem>;
}

/** Things that only one object of the node may have, and what to say to the others. */
interface Claim<T> {
  readonly of: (item: T) => readonly string[];
  /** @param lost which of them somebody else has */
  readonly problem: (item: T, holder: string, lost: string) => FieldProblem;
}

/**
 * Gives every claim to one object: to one that holds it already, so that a new object never breaks a
 * working one, else to the first by name.
 */
function settle<T>(
  items: readonly T[],
  nameOf: (item: T) => string,
  incumbents: ReadonlySet<string>,
  claims: readonly Claim<T>[],
): Settled<T> {
  const rank = (item: T) => (incumbents.has(nameOf(item)) ? 0 : 1);
  const ordered = [...items].sort(
    (a, b) => rank(a) - rank(b) || (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0),
  );
  const holders = claims.map(() => new Map<string, string>());
  const accepted: T[] = [];
  const refused = new Map<string, FieldProblem>();
  for (const item of ordered) {
    const lost = claims.flatMap((claim, i) =>
      claim.of(item).flatMap((key) => {
        const holder = holders[i]?.get(key);
        return holder === undefined ? [] : [claim.problem(item, holder, key)];
      }),
    );
    const [problem] = lost;
    if (problem !== undefined) {
      refused.set(nameOf(item), problem);
      continue;
    }
    for (const [i, { of }] of claims.entries()) {
      for (const key of of(item)) holders[i]?.set(key, nameOf(item));
    }
    accepted.push(item);
  }
  return { accepted, refused };
}

/** What tunnels have in common, if they do. */
export type TunnelClaim = Pick<
  Tunnel,
  "name" | "tunnelId" | "encapsulation" | "local" | "remote" | "control"
>;

/** @param incumbents names of the tunnels that are programmed */
export function settleTunnels<T extends TunnelClaim>(
  tunnels: readonly T[],
  incumbents: ReadonlySet<string>,
): Settled<T> {
  return settle(tunnels, ({ name }) => name, incumbents, [
    {
      of: ({ tunnelId }) => [String(tunnelId)],
      problem: ({ tunnelId }, holder) => ({
        path: "spec.tunnelId",
        value: tunnelId,
        reason: `L2tpTunnel ${holder} of this node has it`,
        remedy: "choose another, or leave it out",
      }),
    },
    {
      of: ({ encapsulation, local, remote, tunnelId }) => [
        encapsulation === "IP"
          ? `IP ${tunnelId}`
          : `UDP ${local.address} ${local.port} ${remote.address} ${remote.port}`,
      ],
      problem: ({ local, remote }, holder) => ({
        path: "spec.remote",
        value: remote,
        reason: `L2tpTunnel ${holder} runs between the same addresses and ports`,
        remedy: `choose another local or remote port than ${local.port} and ${remote.port}`,
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
  ]);
}

/** With whom it has control connections. */
function peersOf({ remote, control }: TunnelClaim): string[] {
  if (control === undefined) return [];
  return [remote, ...control.backups].map(({ address }) => address);
}

function peerKey({ encapsulation, local }: TunnelClaim, peer: string): string {
  return `${encapsulation} ${local.address} ${local.port} ${peer}`;
}

/** @param incumbents keys of the sessions that are programmed */
export function settleSessions<S extends Pick<Session, "key" | "sessionId">>(
  sessions: readonly S[],
  incumbents: ReadonlySet<string>,
): Settled<S> {
  return settle(sessions, ({ key }) => key, incumbents, [
    {
      of: ({ sessionId }) => [String(sessionId)],
      problem: ({ sessionId }, holder) => ({
        path: "spec.sessionId",
        value: sessionId,
        reason: `L2tpSession ${holder} of this node has it`,
        remedy: "choose another, or leave it out",
      }),
    },
  ]);
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
