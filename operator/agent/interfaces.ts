/** Applies and removes the connections between sessions and node interfaces. */
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import { attachmentMode, holderName, type NodeInterface } from "../../model/attachments/index.ts";
import { AgentError } from "../agent-error.ts";
import type { Resolved, ResolvedSession } from "../resolve/resolved.ts";
import type { Failure } from "../resolve/status.ts";
import { type Join, Joins } from "./joins.ts";
import { withNodeInterfaces } from "./node-interfaces.ts";
import { type IsNamed, type OwnInterface, OwnInterfaces } from "./own-interfaces.ts";

type Sessions = Resolved["sessions"];

export class NodeInterfaces {
  readonly #socket: NetlinkSocket;
  readonly #joins: Joins;
  readonly #own: OwnInterfaces;

  constructor(stateFolder: string, socket: NetlinkSocket) {
    this.#socket = socket;
    this.#joins = new Joins(socket);
    this.#own = new OwnInterfaces(stateFolder, socket);
  }

  get isNamed(): IsNamed {
    return this.#own.isNamed;
  }

  /** Returns the sessions with the present state of their node interfaces. */
  observe(resolved: Resolved): Resolved {
    return withNodeInterfaces(resolved, this.#socket, this.#joins.holderOf);
  }

  /** Runs before the plan, and records the names and addresses. @param isSpared true for sessions that are retained */
  prepare(sessions: Sessions, isSpared: (key: string) => boolean): void {
    this.#own.record(ownOf(sessions), isSpared);
  }

  /**
   * Runs after the plan has created the devices.
   * @param nameOf returns the name of a session's device on the node
   * @param programmed keys of all retained sessions, including those with an unreadable manifest
   * @returns failures by "session KEY"
   */
  settle(
    sessions: Sessions,
    nameOf: (resolved: ResolvedSession) => string,
    programmed: readonly string[],
  ): ReadonlyMap<string, Failure> {
    const joins = Array.from(sessions.values()).flatMap((resolved): Join[] => {
      const { session, nodeInterface: at } = resolved;
      if (at?.state.kind !== "joined") return [];
      const { index } = at.state;
      return [{ session: session.key, interface: at.name, index, device: nameOf(resolved) }];
    });
    const spared = programmed.filter((key) => !sessions.has(key));
    return new Map([...this.#joins.settle(joins, spared), ...this.#own.settle(ownOf(sessions))]);
  }
}

function ownOf(sessions: Sessions): ReadonlyMap<string, OwnInterface> {
  return new Map(
    Array.from(sessions).flatMap(([key, { nodeInterface: at }]) =>
      at?.state.kind === "own" ? [[key, { name: at.name, addresses: at.addresses }]] : [],
    ),
  );
}

/** @throws AgentError if the session is for a node interface, so that pods cannot attach */
export function requirePods({ mode, session, object }: ResolvedSession): void {
  const { onNode } = attachmentMode(mode);
  if (onNode === undefined) return;
  const name = object.spec.attachment?.interface ?? "";
  const message = `L2tpSession ${session.key} is for interface ${name} of the node, not for pods`;
  throw new AgentError("SessionBusy", message, onNode.podRemedy);
}

/** Returns "node:NAME" for lists, if a node interface has the session and no pod does. @param pods attached pods */
export function shownInterface(at: NodeInterface | undefined, pods: number): string[] {
  const name = holderName(at);
  return name === null || pods > 0 ? [] : [`node:${name}`];
}
