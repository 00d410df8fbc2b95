/** Indexes the cluster's objects: tunnels by node, sessions by tunnel. */
import type { L2tpSession, L2tpTunnel } from "../api/types.ts";
import { homeOf } from "./decide.ts";

/** Tunnels of each node and sessions of each tunnel. Updated object by object. */
export class Index {
  readonly #homes = new Map<string, string>();
  readonly #tunnelsByNode = new Map<string, Set<string>>();
  readonly #tunnelOf = new Map<string, string>();
  readonly #sessionsByTunnel = new Map<string, Set<string>>();

  /** Adds, moves or (undefined) removes a tunnel. @returns the affected nodes */
  tunnel(name: string, tunnel: L2tpTunnel | undefined): string[] {
    const before = this.#homes.get(name);
    const home = tunnel === undefined ? undefined : homeOf(tunnel);
    move(this.#tunnelsByNode, name, before, home);
    if (home === undefined) this.#homes.delete(name);
    else this.#homes.set(name, home);
    return [before, home].filter((node) => node !== undefined);
  }

  /** Adds, moves or (undefined) removes a session. @returns the names of the affected tunnels */
  session(key: string, session: L2tpSession | undefined): string[] {
    const before = this.#tunnelOf.get(key);
    const tunnel = session?.spec.tunnelRef.name;
    move(this.#sessionsByTunnel, key, before, tunnel);
    if (tunnel === undefined) this.#tunnelOf.delete(key);
    else this.#tunnelOf.set(key, tunnel);
    return [before, tunnel].filter((name) => name !== undefined);
  }

  homeOf(tunnel: string): string | undefined {
    return this.#homes.get(tunnel);
  }

  tunnelsOf(node: string): readonly string[] {
    return [...(this.#tunnelsByNode.get(node) ?? [])].sort();
  }

  sessionsOf(tunnel: string): readonly string[] {
    return [...(this.#sessionsByTunnel.get(tunnel) ?? [])].sort();
  }
}

function move(
  sets: Map<string, Set<string>>,
  item: string,
  from: string | undefined,
  to: string | undefined,
): void {
  if (from === to) return;
  if (from !== undefined) {
    const set = sets.get(from);
    set?.delete(item);
    if (set?.size === 0) sets.delete(from);
  }
  if (to === undefined) return;
  const set = sets.get(to) ?? new Set();
  set.add(item);
  sets.set(to, set);
}

/** Numbers of a tunnel's sessions, for its status. */
export interface Counts {
  readonly total: number;
  readonly programmed: number;
  readonly attached: number;
}

/** Counts sessions, and those with the conditions Programmed and Attached. */
export function countSessions(sessions: readonly L2tpSession[]): Counts {
  const having = (wanted: string) =>
    sessions.filter(({ status }) =>
      status?.conditions?.some(({ type, status: value }) => type === wanted && value === "True"),
    ).length;
  return {
    total: sessions.length,
    programmed: having("Programmed"),
    attached: having("Attached"),
  };
}
