/** The present state of the traced tunnel or session. */
import type { Listing } from "../../../datapath/datapath.ts";
import type { EstablishedSession } from "../../../l2tp/control/session.ts";
import { agreed } from "../../../model/carried.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import type { Refusal } from "../../resolve/refusal.ts";
import type { Resolved, ResolvedSession } from "../../resolve/resolved.ts";
import { TraceRefused } from "./refused.ts";

/** The part of the agent's knowledge that a trace uses. */
export interface TracedNode {
  readonly nodeName: string;
  /** The state after the last reconcile; each reconcile creates another object. */
  state(): { readonly resolved: Resolved; readonly listing: Listing } | null;
  /** The present listing of the datapaths. */
  look(): Promise<Listing>;
}

/** Sessions by the session ID in frames of one direction. */
export type SessionsById = ReadonlyMap<number, Session>;

export class Subject {
  /** "L2tpTunnel branch". */
  readonly object: string;
  /** The key of the traced session; null: all sessions of the tunnel. */
  readonly session: string | null;
  readonly #target: string;
  readonly #node: TracedNode;
  #seen: ReturnType<TracedNode["state"]> = null;
  #established: ReadonlyMap<string, EstablishedSession> = new Map();
  tunnel: Tunnel;
  /** The Remote End ID of the traced session; undefined: its tunnel is not managed. */
  remoteEndId: string | undefined;
  /** Sessions of the tunnel that forward frames, with their negotiated values. */
  sessions: readonly Session[] = [];
  /** Received frames carry the session ID, sent frames the peer session ID. */
  received: SessionsById = new Map();
  sent: SessionsById = new Map();
  /** Session IDs in other tunnels of the node. */
  #foreignReceived: ReadonlySet<number> = new Set();
  #foreignSent: ReadonlySet<number> = new Set();

  /** @throws TraceRefused if the node does not have the object */
  constructor(target: string, node: TracedNode) {
    this.#target = target;
    this.#node = node;
    const isSession = target.includes("/");
    this.object = `${isSession ? "L2tpSession" : "L2tpTunnel"} ${target}`;
    this.session = isSession ? target : null;
    const tunnel = this.#find();
    if (tunnel === undefined) {
      const remedy = `l2tpctl ${isSession ? "sessions" : "tunnels"} shows the names`;
      throw new TraceRefused("UnknownObject", this.whyGone(), remedy);
    }
    this.tunnel = tunnel;
    this.refresh();
  }

  /** Follows the changes of the last reconcile. Returns false if the node no longer has the object. */
  refresh(): boolean {
    const state = this.#node.state();
    if (state === this.#seen) return true;
    const tunnel = this.#find();
    if (state === null || tunnel === undefined) return false;
    this.#seen = state;
    this.tunnel = tunnel;
    this.#take(state.resolved, state.listing);
    return true;
  }

  /** Asks the datapaths, because sessions may have been negotiated since the last reconcile. */
  async look(): Promise<Listing> {
    const listing = await this.#node.look();
    if (this.#seen !== null) this.#take(this.#seen.resolved, listing);
    return listing;
  }

  /** Returns the reason why the node does not have the object. */
  whyGone(): string {
    const { nodeName } = this.#node;
    const refusal = this.#refusal();
    return refusal === undefined
      ? `no ${this.object} on node ${nodeName}`
      : `${this.object} is not programmed: ${refusal.message}`;
  }

  /** True if the session ID belongs to another tunnel, which can have the same addresses. */
  isElsewhere(sessionId: number, outgoing: boolean): boolean {
    return (outgoing ? this.#foreignSent : this.#foreignReceived).has(sessionId);
  }

  #find(): Tunnel | undefined {
    const resolved = this.#node.state()?.resolved;
    return this.session === null
      ? resolved?.tunnels.get(this.#target)?.tunnel
      : resolved?.sessions.get(this.#target)?.tunnel;
  }

  #refusal(): Refusal | undefined {
    const resolved = this.#node.state()?.resolved;
    const refused = this.session === null ? resolved?.refusedTunnels : resolved?.refusedSessions;
    return refused?.get(this.#target);
  }

  #take(resolved: Resolved, listing: Listing): void {
    this.#established = new Map(
      listing.sessions.flatMap(({ session: { key }, control }) =>
        control?.established ? [[key, control.established] as const] : [],
      ),
    );
    const all = [...resolved.sessions.values()].flatMap((item) => this.#forwarded(item) ?? []);
    const isOurs = ({ tunnel }: Session) => tunnel === this.tunnel.name;
    this.sessions = all.filter(isOurs);
    this.received = new Map(this.sessions.map((session) => [session.sessionId, session]));
    this.sent = new Map(this.sessions.map((session) => [session.peerSessionId, session]));
    this.remoteEndId = resolved.sessions.get(this.#target)?.session.control?.remoteEndId;
    const others = all.filter((session) => !isOurs(session));
    this.#foreignReceived = new Set(others.map(({ sessionId }) => sessionId));
    this.#foreignSent = new Set(others.map(({ peerSessionId }) => peerSessionId));
  }

  /** Returns the session with its negotiated values; null if it is not established. */
  #forwarded({ session }: ResolvedSession): Session | null {
    if (session.control === undefined) return session;
    const established = this.#established.get(session.key);
    return established === undefined ? null : agreed(session, established);
  }
}
