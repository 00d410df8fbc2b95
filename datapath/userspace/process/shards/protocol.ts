/** What the first thread asks of a shard's. Each request has one reply before the next. */
import type { EndpointCounters, Tunnel } from "../../../../model/model.ts";
import type { Reply } from "../../../../rpc/errors.ts";
import type { Change, Listing, Stranger } from "../../../datapath.ts";
import type { Joins } from "../../packet/ports.ts";
import type { ShardOptions } from "../shard.ts";
import type { Share } from "./steering.ts";

export type PutTunnel = Extract<Change, { op: "putTunnel" }>;
export type PutSession = Extract<Change, { op: "putSession" }>;

export type ShardRequest =
  | { readonly op: "apply"; readonly change: Change }
  /** Opens the tunnel's local endpoint, and keeps it open. */
  | { readonly op: "hold"; readonly tunnel: Tunnel }
  | { readonly op: "release"; readonly tunnel: Tunnel }
  /** Takes sessions out; they come back with their devices, which stay open. */
  | { readonly op: "handOver"; readonly sessions: readonly string[] }
  /** Takes a session in, with its open device. */
  | { readonly op: "takeOver"; readonly change: PutSession; readonly device: OpenDevice | null }
  | { readonly op: "list"; readonly sessions?: readonly string[] }
  | { readonly op: "turns" }
  /** Ends the thread, after the reply. */
  | { readonly op: "stop" };

/** A device on its way to another thread: a descriptor is the same in all of them. */
export interface OpenDevice {
  readonly fd: number;
  readonly index: number;
  readonly joins: Joins;
}

export interface MovingSession {
  readonly key: string;
  readonly device: OpenDevice | null;
}

/** A local endpoint as one shard sees it. */
export interface EndpointShare {
  /** LocalEndpoint.keyOf. */
  readonly key: string;
  readonly counters: EndpointCounters;
  /** The last session id that nobody has in this shard, and who sent it; 0: none yet. */
  readonly lastUnknownSession: number;
  readonly lastUnknownFrom: Stranger | null;
}

export interface ShardListing extends Listing {
  readonly endpoints: readonly EndpointShare[];
}

export interface ShardResults {
  readonly apply: null;
  readonly hold: null;
  readonly release: null;
  readonly handOver: readonly MovingSession[];
  readonly takeOver: null;
  readonly list: ShardListing;
  readonly turns: number;
  readonly stop: null;
}

export type ShardReply = Reply<ShardResults[keyof ShardResults]>;

/** What a thread is started with. */
export interface ThreadData {
  readonly share: Share;
  readonly offload: ShardOptions["offload"];
  readonly port: import("node:worker_threads").MessagePort;
  /** Counts replies; shared, to wait on. */
  readonly replies: Int32Array;
  /** An eventfd: a request waits. */
  readonly wake: number;
}
