/**
 * The view that one of several datapaths has of the datapath process: it contains only its own tunnels and sessions. A
 * suffix separates the names of different datapaths.
 */
import type { Session, Tunnel } from "../../model/model.ts";
import type { Reply } from "../../rpc/errors.ts";
import { type Change, EMPTY_LISTING, type Listing } from "../datapath.ts";
import { type DatapathClient, isAbsent } from "./client.ts";

export class ProcessView {
  readonly #client: DatapathClient;
  /** The suffix of names in the process. Object names have no colon. */
  readonly #suffix: string;

  /** @param tenant the datapath whose objects the view contains; null: the userspace datapath */
  constructor(client: DatapathClient, tenant: string | null = null) {
    this.#client = client;
    this.#suffix = tenant === null ? "" : `:${tenant}`;
  }

  /** Lists tunnels and sessions. Returns an empty listing if no process is running. */
  async list(): Promise<Listing> {
    try {
      return this.#own(await this.#client.list());
    } catch (error) {
      if (isAbsent(error)) return EMPTY_LISTING;
      throw error;
    }
  }

  /** @throws ConnectionError */
  async listSession(key: string): Promise<Listing> {
    return this.#own(await this.#client.list([key + this.#suffix]));
  }

  /** Returns a reply for each change, in order. @throws ConnectionError */
  apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    return this.#client.apply(changes.map((change) => this.#toProcess(change)));
  }

  /** Applies deletions. They succeed if no process is running. */
  async delete(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    try {
      return await this.apply(changes);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      return changes.map(() => ({ result: null }));
    }
  }

  #own({ tunnels, sessions, ...rest }: Listing): Listing {
    return {
      ...rest,
      tunnels: tunnels.flatMap((state) => {
        const name = this.#ownName(state.tunnel.name);
        if (name === null) return [];
        return name === state.tunnel.name ? state : { ...state, tunnel: { ...state.tunnel, name } };
      }),
      sessions: sessions.flatMap((state) => {
        const key = this.#ownName(state.session.key);
        const tunnel = this.#ownName(state.session.tunnel);
        if (key === null || tunnel === null) return [];
        if (key === state.session.key) return state;
        return { ...state, session: { ...state.session, key, tunnel } };
      }),
    };
  }

  /** Returns the name without the suffix; null: it belongs to another datapath. */
  #ownName(name: string): string | null {
    const colon = name.indexOf(":");
    const suffix = colon < 0 ? "" : name.slice(colon);
    return suffix === this.#suffix ? name.slice(0, name.length - suffix.length) : null;
  }

  #toProcess(change: Change): Change {
    switch (change.op) {
      case "putTunnel":
        return { ...change, tunnel: this.#named(change.tunnel) };
      case "deleteTunnel":
        return { ...change, name: change.name + this.#suffix };
      case "putSession":
        return { ...change, session: this.#keyed(change.session) };
      case "deleteSession":
      case "deleteDevice":
        return { ...change, key: change.key + this.#suffix };
    }
  }

  #named(tunnel: Tunnel): Tunnel {
    return { ...tunnel, name: tunnel.name + this.#suffix };
  }

  #keyed(session: Session): Session {
    const { key, tunnel } = session;
    return { ...session, key: key + this.#suffix, tunnel: tunnel + this.#suffix };
  }
}
