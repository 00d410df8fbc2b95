/** Carries out a plan. A failed action skips the remaining actions of its object only. */

import type { Change } from "../../datapath/datapath.ts";
import { failureCode } from "../../datapath/failure.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { Errno, isErrno, SystemError } from "../../linux/errno.ts";
import { addAddress } from "../../linux/netlink/address.ts";
import {
  createBridge,
  createVeth,
  deleteLink,
  findLink,
  getLink,
  type LinkSettings,
  setLink,
} from "../../linux/netlink/link.ts";
import { addRoute } from "../../linux/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { OWN_NETNS } from "../../linux/netns.ts";
import { linkId, parseLinkLabel } from "../../model/link-label.ts";
import {
  type Action,
  type DatapathAction,
  isDatapathAction,
  type Link,
  type LinkAction,
  type Place,
} from "../../model/plan.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { Failure, Failures } from "../resolve/status.ts";
import { foreignBridgeIndex } from "./observe.ts";

export interface ApplyContext {
  readonly socket: NetlinkSocket;
  /** Replies in the order of the changes. */
  applyChanges(datapath: string, changes: readonly Change[]): Promise<readonly Reply<null>[]>;
  /** The links that exist, by their IDs. */
  readonly present: ReadonlyMap<string, Link>;
  /** The names of the bridges, by link ID. */
  readonly bridgeNames: ReadonlyMap<string, string>;
  /** The session of an attachment, by the key of the attachment. */
  sessionOfAttachment(key: string): string | undefined;
}

/**
 * Carries out the actions in their order. An action that fails does not stop those that do not depend on it.
 * @returns the failures, by object
 */
export async function applyPlan(
  actions: readonly Action[],
  context: ApplyContext,
): Promise<Failures> {
  const executor = new Executor(context);
  try {
    for (const action of actions) await executor.execute(action);
    await executor.flush();
  } finally {
    executor.close();
  }
  return executor.failures;
}

class Executor {
  readonly failures = new Map<string, Failure>();
  readonly #context: ApplyContext;
  /** Sockets in pods' namespaces, by path. */
  readonly #sockets = new Map<string, NetlinkSocket>();
  /** Indexes of links by place; cleared when a link may have moved. */
  readonly #indexes = new Map<string, number>();
  /** Changes of one datapath that are sent together, each with its owner. */
  #changes: { readonly owner: string; readonly change: Change }[] = [];
  #datapath = "";
  /** The observed links that no action has moved or replaced yet. */
  readonly #present: Map<string, Link>;

  constructor(context: ApplyContext) {
    this.#context = context;
    this.#present = new Map(context.present);
  }

  async execute(action: Action): Promise<void> {
    const owner = this.#ownerOf(action);
    if (this.failures.has(owner)) return;
    try {
      if (isDatapathAction(action)) {
        if (action.datapath !== this.#datapath) await this.flush();
        if (this.failures.has(owner)) return;
        this.#datapath = action.datapath;
        this.#guardDevice(action);
        this.#forgetReplaced(action);
        this.#changes.push({ owner, change: changeOf(action) });
        return;
      }
      // The datapath must have created a session's device before the device is changed.
      await this.flush();
      if (this.failures.has(owner)) return;
      if (!staysInPlace(action)) this.#indexes.clear();
      await this.#changeLinks(action);
    } catch (error) {
      this.#fail(owner, error);
    }
  }

  /** Forgets the index of a session's device: the device can be replaced with the session. */
  #forgetReplaced(action: Action): void {
    if (action.do === "deleteSession" || action.do === "deleteDevice") {
      this.#present.delete(linkId.pseudowire(action.key));
    }
  }

  /** Sends the pending changes to their datapath. */
  async flush(): Promise<void> {
    const waiting = this.#changes;
    if (waiting.length === 0) return;
    this.#changes = [];
    this.#indexes.clear();
    let replies: readonly Reply<null>[];
    try {
      const changes = waiting.map(({ change }) => change);
      replies = await this.#context.applyChanges(this.#datapath, changes);
    } catch (error) {
      // It is unknown which of them were applied.
      for (const { owner } of waiting) this.#fail(owner, error);
      return;
    }
    for (const [index, reply] of replies.entries()) {
      const owner = waiting[index]?.owner;
      if (owner !== undefined && "error" in reply) {
        const { message } = reply.error;
        this.failures.set(owner, { code: failureCode(reply.error), message });
      }
    }
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.close();
  }

  #fail(owner: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.failures.set(owner, { code: failureCode(error), message });
  }

  #ownerOf(action: Action): string {
    switch (action.do) {
      case "putTunnel":
        return `tunnel ${action.tunnel.name}`;
      case "deleteTunnel":
        return `tunnel ${action.name}`;
      case "putSession":
        return `session ${action.session.key}`;
      case "deleteSession":
      case "deleteDevice":
        return `session ${action.key}`;
      case "createBridge":
        return this.#ownerOfLink(action.link.id);
      case "createPair":
        return this.#ownerOfLink(action.port.id);
      default:
        return this.#ownerOfLink(action.link);
    }
  }

  #ownerOfLink(id: string): string {
    const parsed = parseLinkLabel(id);
    if (parsed === undefined) return `link ${id}`;
    const isSessions = parsed.kind === "pseudowire" || parsed.kind === "bridge";
    const key = isSessions ? parsed.key : this.#context.sessionOfAttachment(parsed.key);
    return `session ${key ?? parsed.key}`;
  }

  #guardDevice(action: DatapathAction): void {
    if (action.do !== "putSession" || traitsOf(action.datapath).makesDevices) return;
    const { device, session } = action;
    if (device === null || device === "keep") return;
    this.#guardName(device, linkId.pseudowire(session.key));
  }

  /**
   * Opening a TAP device takes over any device of that name. On the node, the device must have the session's label, or
   * be an unlabeled TUN device. In a pod it must be the observed device, because a pod can write labels.
   */
  #guardName(at: Place, id: string): void {
    const link = findLink(this.#socket(at.netns), at.name);
    if (link === undefined) return;
    if (link.index === this.#context.present.get(id)?.index) return;
    const isOurs = parseLinkLabel(link.alias)?.id === id;
    if (at.netns === null && (isOurs || (link.kind === "tun" && link.alias === ""))) return;
    // The end of a veth pair that a datapath process created just before it ended.
    const isPairEnd = link.kind === "veth" && link.alias === "" && at.netns === null;
    if (isPairEnd && getLink(this.#socket(null), link.peer)?.name.startsWith("l2tpf")) return;
    throw new SystemError(
      Errno.EEXIST,
      "create device",
      `${at.name}: another interface has this name`,
    );
  }

  async #changeLinks(action: LinkAction): Promise<void> {
    switch (action.do) {
      case "createBridge":
        return this.#createBridge(action.link);
      case "createPair":
        return this.#createPair(action.port, action.pod);
      case "deleteLink": {
        const { link, at } = action;
        const socket = this.#socket(at.netns);
        const index = this.#presentIndex(link, at) ?? findLink(socket, at.name)?.index;
        this.#present.delete(link);
        return index === undefined ? undefined : deleteLink(socket, at.netns, index);
      }
      case "moveLink": {
        const { link, at, to } = action;
        this.#set(link, at, { netns: to.netns ?? OWN_NETNS, name: to.name });
        this.#present.delete(link);
        return;
      }
      case "changeLink": {
        const { label, bridge, mac, isSilent, ...fields } = action.change;
        // On the node, a link that goes up must not send IPv6 frames into the pseudowire by itself. The kernel brings a
        // link up before it handles the rest of the request, so address generation is disabled by a request of its own.
        const raises = fields.up === true && (isSilent ?? action.at.netns === null);
        if (raises) this.#set(action.link, action.at, { addressGeneration: false });
        return this.#set(action.link, action.at, {
          ...fields,
          ...(mac === undefined || mac === null ? {} : { mac }),
          ...(label === undefined ? {} : { alias: label }),
          ...(bridge === undefined ? {} : { master: this.#bridgeIndex(bridge) }),
        });
      }
      case "addAddress":
        return this.#onLink(action.link, action.at, (socket, link) =>
          addAddress(socket, { link, prefix: action.address }),
        );
      case "addRoute":
        return this.#addRoute(action);
    }
  }

  #addRoute({ link: id, at, route }: Extract<LinkAction, { do: "addRoute" }>): void {
    const { gateway, isPods, ...rest } = route;
    this.#onLink(id, at, (socket, link) => {
      try {
        addRoute(socket, { ...rest, gateway: gateway ?? undefined, link });
      } catch (error) {
        // The pod may use the route through another interface now, or have added it again.
        if (isPods !== true) throw error;
      }
    });
  }

  #createBridge({ name, mtu, mac }: Link): void {
    try {
      createBridge(this.#context.socket, { name, mtu, ...(mac === null ? {} : { mac }) });
    } catch (error) {
      // An earlier pass that ended before it set the label created the bridge.
      const known = isErrno(error, "EEXIST") ? findLink(this.#context.socket, name) : undefined;
      if (known?.kind !== "bridge" || known.alias !== "") throw error;
    }
  }

  async #createPair(port: Link, pod: Link): Promise<void> {
    if (pod.netns === null) throw new TypeError(`${pod.id} is not in a pod`);
    const leftover = findLink(this.#context.socket, port.name);
    // An earlier pass ended before it set the label; the other end can be in any namespace.
    if (leftover?.kind === "veth" && leftover.alias === "") {
      await deleteLink(this.#context.socket, null, leftover.index);
    }
    const { name, mtu } = port;
    const peer = { name: pod.name, mtu: pod.mtu, netns: pod.netns };
    createVeth(
      this.#context.socket,
      { name, mtu },
      pod.mac === null ? peer : { ...peer, mac: pod.mac },
    );
  }

  #set(link: string, at: Place, change: LinkSettings): void {
    this.#onLink(link, at, (socket, index) => setLink(socket, index, change));
  }

  /** Returns the observed index, which stays valid if a pod renames the link meanwhile. */
  #presentIndex(link: string, { netns }: Place): number | undefined {
    const known = this.#present.get(link);
    return known?.netns === netns ? known.index : undefined;
  }

  #onLink(link: string, at: Place, work: (socket: NetlinkSocket, index: number) => void): void {
    const socket = this.#socket(at.netns);
    const place = `${at.netns ?? ""} ${at.name}`;
    const index =
      this.#presentIndex(link, at) ?? this.#indexes.get(place) ?? findLink(socket, at.name)?.index;
    if (index === undefined) throw new SystemError(Errno.ENODEV, "find link", at.name);
    this.#indexes.set(place, index);
    work(socket, index);
  }

  #bridgeIndex(id: string | null): number {
    if (id === null) return 0;
    const foreign = foreignBridgeIndex(id);
    if (foreign !== undefined) return foreign;
    const name = this.#context.bridgeNames.get(id);
    const link = name === undefined ? undefined : findLink(this.#context.socket, name);
    if (link === undefined) throw new SystemError(Errno.ENODEV, "find bridge", id);
    return link.index;
  }

  #socket(netns: string | null): NetlinkSocket {
    if (netns === null) return this.#context.socket;
    let socket = this.#sockets.get(netns);
    if (socket === undefined) {
      socket = new NetlinkSocket(NETLINK_ROUTE, netns);
      this.#sockets.set(netns, socket);
    }
    return socket;
  }
}

function changeOf({ do: op, datapath: _, ...rest }: DatapathAction): Change {
  return { op, ...rest } as Change;
}

/** True if the action changes no link's name or namespace. */
function staysInPlace(action: Action): boolean {
  if (action.do === "changeLink") return action.change.name === undefined;
  return action.do === "addAddress" || action.do === "addRoute";
}
