/** Several shards, each with a thread of its own, as one. A tunnel and its sessions are in the shard of its remote. */

import type { EndpointCounters, Tunnel } from "../../../../model/model.ts";
import { createEndpointCounters } from "../../../../model/model.ts";
import { type Reply, toWireError } from "../../../../rpc/errors.ts";
import type { Change, Listing, SessionState, Stranger, TunnelState } from "../../../datapath.ts";
import { ChangeError, noTunnel } from "../../packet/table.ts";
import { LocalEndpoint } from "../../packet/tunnel.ts";
import type { Served, ShardOptions } from "../shard.ts";
import type {
  EndpointShare,
  OpenDevice,
  PutSession,
  PutTunnel,
  ShardListing,
  ShardRequest,
  ShardResults,
} from "./protocol.ts";
import { shardOf } from "./steering.ts";
import { ShardThread } from "./thread.ts";

/** A shard, wherever it runs. */
export interface CalledShard {
  /** @throws Error what the shard says */
  call<R extends ShardRequest>(request: R): ShardResults[R["op"]];
}

interface KnownTunnel {
  readonly shard: CalledShard;
  readonly config: Tunnel;
}

export class Shards implements Served {
  readonly #shards: CalledShard[];
  readonly #tunnels = new Map<string, KnownTunnel>();
  /** As they were put last. */
  readonly #sessions = new Map<string, PutSession>();
  /** How many tunnels are on each local endpoint; all shards have it open. */
  readonly #endpoints = new Map<string, number>();

  constructor(shards: readonly CalledShard[]) {
    this.#shards = [...shards];
  }

  /** @throws SystemError where there cannot be so many */
  static start(count: number, options: ShardOptions): Shards {
    const shards = Array.from(
      { length: count },
      (_, index) => new ShardThread(options, { index, count }),
    );
    // They come up side by side.
    for (const shard of shards) shard.call({ op: "list", sessions: [] });
    return new Shards(shards);
  }

  stop(): void {
    for (const shard of this.#shards.splice(0)) shard.call({ op: "stop" });
  }

  apply(change: Change): Reply<null> {
    try {
      this.#change(change);
      return { result: null };
    } catch (error) {
      return { error: toWireError(error) };
    }
  }

  list(sessions?: readonly string[]): Listing {
    if (sessions === undefined)
      return merge(this.#shards.map((shard) => shard.call({ op: "list" })));
    const byShard = Map.groupBy(
      sessions.filter((key) => this.#sessions.has(key)),
      (key) => this.#shardOfSession(key) as CalledShard,
    );
    const lists = [...byShard].map(([shard, keys]) => shard.call({ op: "list", sessions: keys }));
    return { tunnels: [], sessions: lists.flatMap((list) => list.sessions) };
  }

  get turns(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.call({ op: "turns" }), 0);
  }

  #change(change: Change): void {
    switch (change.op) {
      case "putTunnel":
        return this.#putTunnel(change);
      case "deleteTunnel":
        return this.#deleteTunnel(change.name);
      case "putSession":
        return this.#putSession(change);
      case "deleteSession":
        this.#shardOfSession(change.key)?.call({ op: "apply", change });
        this.#sessions.delete(change.key);
        return;
      case "deleteDevice":
        this.#shardOfSession(change.key)?.call({ op: "apply", change });
    }
  }

  #putTunnel(change: PutTunnel): void {
    const { tunnel: config } = change;
    requireOneRemote(config);
    const shard = this.#shards[shardOf(config.remote.address, this.#shards.length)] as CalledShard;
    const known = this.#tunnels.get(config.name);
    this.#hold(config);
    try {
      shard.call({ op: "apply", change });
    } catch (error) {
      this.#release(config);
      throw error;
    }
    this.#tunnels.set(config.name, { shard, config });
    if (known === undefined) return;
    if (known.shard !== shard) {
      const sessions = this.#sessionsOf(config.name);
      const moving = known.shard.call({ op: "handOver", sessions });
      known.shard.call({ op: "apply", change: { op: "deleteTunnel", name: config.name } });
      for (const { key, device } of moving) {
        const put = this.#sessions.get(key);
        if (put !== undefined) takeOver(shard, put, device);
      }
    }
    this.#release(known.config);
  }

  #deleteTunnel(name: string): void {
    const known = this.#tunnels.get(name);
    if (known === undefined) return;
    known.shard.call({ op: "apply", change: { op: "deleteTunnel", name } });
    for (const key of this.#sessionsOf(name)) this.#sessions.delete(key);
    this.#tunnels.delete(name);
    this.#release(known.config);
  }

  #putSession(change: PutSession): void {
    const { session } = change;
    const shard = this.#tunnels.get(session.tunnel)?.shard;
    if (shard === undefined) throw noTunnel(session);
    const before = this.#shardOfSession(session.key);
    if (before !== undefined && before !== shard) {
      const [moving] = before.call({ op: "handOver", sessions: [session.key] });
      this.#sessions.delete(session.key);
      if (moving !== undefined) takeOver(shard, change, moving.device);
    }
    shard.call({ op: "apply", change });
    this.#sessions.set(session.key, change);
  }

  #shardOfSession(key: string): CalledShard | undefined {
    return this.#tunnels.get(this.#sessions.get(key)?.session.tunnel ?? "")?.shard;
  }

  #sessionsOf(tunnel: string): string[] {
    return [...this.#sessions].flatMap(([key, { session }]) =>
      session.tunnel === tunnel ? [key] : [],
    );
  }

  /** All shards open it, in order, or none. @throws Error what the first said that could not */
  #hold(tunnel: Tunnel): void {
    // The one shard's alone.
    if (tunnel.socketOwner !== undefined) return;
    const key = LocalEndpoint.keyOf(tunnel);
    const users = this.#endpoints.get(key) ?? 0;
    if (users === 0) {
      for (const [index, shard] of this.#shards.entries()) {
        try {
          shard.call({ op: "hold", tunnel });
        } catch (error) {
          for (const held of this.#shards.slice(0, index)) held.call({ op: "release", tunnel });
          throw error;
        }
      }
    }
    this.#endpoints.set(key, users + 1);
  }

  #release(tunnel: Tunnel): void {
    if (tunnel.socketOwner !== undefined) return;
    const key = LocalEndpoint.keyOf(tunnel);
    const users = (this.#endpoints.get(key) ?? 0) - 1;
    if (users > 0) {
      this.#endpoints.set(key, users);
      return;
    }
    this.#endpoints.delete(key);
    for (const shard of this.#shards) shard.call({ op: "release", tunnel });
  }
}

/** A device that the shard cannot watch is lost, and its listing says so. */
function takeOver(shard: CalledShard, change: PutSession, device: OpenDevice | null): void {
  try {
    shard.call({ op: "takeOver", change, device });
  } catch {}
}

/** A local endpoint, as one sees it that has all its tunnels. */
interface Seen {
  readonly counters: EndpointCounters;
  readonly shares: EndpointShare[];
}

function merge(listings: readonly ShardListing[]): Listing {
  const endpoints = new Map<string, Seen>();
  for (const share of listings.flatMap((each) => each.endpoints)) {
    const seen = endpoints.get(share.key) ?? { counters: createEndpointCounters(), shares: [] };
    endpoints.set(share.key, seen);
    add(seen.counters, share.counters);
    seen.shares.push(share);
  }
  // The last first.
  for (const { shares } of endpoints.values()) {
    shares.sort((a, b) => msAgo(a.lastUnknownFrom) - msAgo(b.lastUnknownFrom));
  }
  const sessions = listings.flatMap((each) => each.sessions);
  const tunnels = listings.flatMap((each) => each.tunnels);
  const owners = ownersOf(tunnels, sessions);
  return {
    sessions,
    turns: listings.reduce((sum, { turns = 0 }) => sum + turns, 0),
    tunnels: tunnels.map((state) => {
      const key = LocalEndpoint.keyOf(state.tunnel);
      const { counters, shares } = endpoints.get(key) as Seen;
      const unknown = shares.filter((share) => share.lastUnknownFrom !== null);
      const owner = (share: EndpointShare) => owners.get(`${key} ${share.lastUnknownSession}`);
      // By who sent it, it went to a shard that does not know the session.
      const stranger = unknown.find((share) => owner(share) === state.tunnel.name)?.lastUnknownFrom;
      return {
        ...state,
        endpoint: counters,
        lastUnknownSession: unknown.find((share) => !owner(share))?.lastUnknownSession ?? null,
        lastStranger: later(state.lastStranger, stranger ?? null),
      };
    }),
  };
}

function later(one: Stranger | null, other: Stranger | null): Stranger | null {
  return msAgo(one) <= msAgo(other) ? one : other;
}

function msAgo(stranger: Stranger | null): number {
  return stranger?.msAgo ?? Number.POSITIVE_INFINITY;
}

/** The name of the tunnel whose session it is, by local endpoint and session id. */
function ownersOf(
  tunnels: readonly TunnelState[],
  sessions: readonly SessionState[],
): Map<string, string> {
  const keys = new Map(tunnels.map(({ tunnel }) => [tunnel.name, LocalEndpoint.keyOf(tunnel)]));
  return new Map(
    sessions.map(({ session }) => [
      `${keys.get(session.tunnel)} ${session.sessionId}`,
      session.tunnel,
    ]),
  );
}

function add(sum: EndpointCounters, more: EndpointCounters): void {
  for (const name of Object.keys(sum) as (keyof EndpointCounters)[]) sum[name] += more[name];
}

/** What comes of a backup comes to another thread, which knows nothing of the connection. */
function requireOneRemote({ name, control }: Tunnel): void {
  if (control === undefined || control.backups.length === 0) return;
  const message = `tunnel ${name}: backups need a datapath of one thread; start it without --threads, or leave spec.backup out`;
  throw new ChangeError("EOPNOTSUPP", message);
}
