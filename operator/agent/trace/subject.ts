/** The tunnel or session that is traced, as the node has it now. */
import type { Listing } from "../../../datapath/datapath.ts";
import type { EstablishedSession } from "../../../l2tp/control/session.ts";
import { agreed } from "../../../model/carried.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import type { Refusal } from "../../resolve/refusal.ts";
import type { Resolved, ResolvedSession } from "../../resolve/resolved.ts";
import { TraceRefused } from "./refused.ts";

/** The agent's knowledge, as a trace asks for it. */
export interface TracedNode {
  readonly nodeName: string;
  /** After the last pass; it is another object after the next. */
  state(): { readonly resolved: Resolved; readonly listing: Listing } | null;
  /** The present listing of the datapaths. */
  look(): Promise<Listing>;
}

/** A session by the id that frames of one direction carry. */
export type SessionsById = ReadonlyMap<number, Session>;

export class Subject {
  /** "L2tpTunnel branch". */
  readonly object: string;
  /** The key of the only session that is traced; null: all of the tunnel. */
  readonly session: string | null;
  readonly #target: string;
  readonly #node: TracedNode;
  #seen: ReturnType<TracedNode["state"]> = null;
  #established: ReadonlyMap<string, EstablishedSession> = new Map();
  tunnel: Tunnel;
  /** The ends' name for the session that is traced; undefined: it is not signalled. */
  remoteEndId: string | undefined;
  /** Sessions of the tunnel whose frames are forwarded, as they are. */
  sessions: readonly Session[] = [];
  /** Received frames carry our ids, and sent frames the peer's. */
  received: SessionsById = new Map();
  sent: SessionsById = new Map();
  /** Ids of sessions in other tunnels of the node. */
  #foreignReceived: ReadonlySet<number> = new Set();
  #foreignSent: ReadonlySet<number> = new Set();

  /** @throws TraceRefused where the node does not have it */
  constructor(target: string, node: TracedNode) {
    this.#target = target;
    this.#node = node;
    const isSession = target.includes("/");
    this.object = `${isSession ? "L2tpSession" : "L2tpTunnel"} ${target}`;
    this.session = isSession ? target : null;
    const tunnel = this.#find();
    if (tunnel === undefined) {
      const remedy = `l2tpctl ${isSession ? "sessions" : "tunnels"} shows what there is`;
      throw new TraceRefused("UnknownObject", this.whyGone(), remedy);
    }
    this.tunnel = tunnel;
    this.refresh();
  }

  /** Follows what the last pass has changed. False: the node has it no longer. */
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

  /** Asks the datapaths, since the ends may have agreed on something since the last pass. */
  async look(): Promise<Listing> {
    const listing = await this.#node.look();
    if (this.#seen !== null) this.#take(this.#seen.resolved, listing);
    return listing;
  }

  /** Why the node does not have it, in a sentence. */
  whyGone(): string {
    const { nodeName } = this.#node;
    const refusal = this.#refusal();
    return refusal === undefined
      ? `no ${this.object} on node ${nodeName}`
      : `${this.object} is not programmed: ${refusal.message}`;
  }

  /** True if the id is one of another tunnel, which may have the same addresses. */
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

  /** As its frames are forwarded; null: they are not, since the ends have not agreed. */
  #forwarded({ session }: ResolvedSession): Session | null {
    if (session.control === undefined) return session;
    const established = this.#established.get(session.key);
    return established === undefined ? null : agreed(session, established);
  }
}
