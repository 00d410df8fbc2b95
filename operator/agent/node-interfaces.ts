/** The present state of the node interfaces in spec.attachment.interface: usable, or the reason why not. */
import { deviceKindOfLink } from "../../datapath/registry/datapaths.ts";
import { SystemError } from "../../linux/errno.ts";
import { findLink, getLink, type LinkInfo, listLinks } from "../../linux/netlink/link.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { InterfaceState } from "../../model/attachments/index.ts";
import { linkId, parseLinkLabel } from "../../model/link-label.ts";
import { nodePaths } from "../../underlay/index.ts";
import { createsInterface, wantedInterface } from "../resolve/node-interfaces.ts";
import type { Resolved, ResolvedSession, ResolvedTunnel } from "../resolve/resolved.ts";
import { foreignBridge } from "./observe.ts";

/** Returns the session that an interface is joined to now; undefined: none of them. */
export type HolderOf = (index: number, sessions: readonly string[]) => string | undefined;

/** Returns the sessions with their node interfaces and the state of each. */
export function withNodeInterfaces(
  resolved: Resolved,
  socket: NetlinkSocket,
  holderOf: HolderOf,
): Resolved {
  const askers = [...resolved.sessions.values()].filter(
    ({ object }) => object.spec.attachment?.interface !== undefined,
  );
  if (askers.length === 0) return resolved;
  const links = listLinks(socket);
  const node: NodeLinks = {
    byName: (name) => links.find((link) => link.name === name) ?? findLink(socket, name),
    underlay: underlayOf(resolved.tunnels.values(), socket, links),
    masterOf: ({ master }) => links.find(({ index }) => index === master),
  };
  const sessions = new Map(resolved.sessions);
  const byName = Map.groupBy(askers, ({ object }) => object.spec.attachment?.interface ?? "");
  for (const [name, rivals] of byName) {
    const winner = winnerOf(rivals, node.byName(name), holderOf);
    for (const one of rivals) {
      const { key } = one.session;
      const nodeInterface = wantedInterface(one, () => stateOf(one, name, winner, node));
      if (nodeInterface !== undefined) sessions.set(key, { ...one, nodeInterface });
    }
  }
  return { ...resolved, sessions };
}

interface NodeLinks {
  byName(name: string): LinkInfo | undefined;
  /** The reasons why packets of tunnels require a link, by its index. */
  readonly underlay: ReadonlyMap<number, string>;
  masterOf(link: LinkInfo): LinkInfo | undefined;
}

/** Returns the session that uses the interface now, otherwise the first by name; null: all sessions can use it. */
function winnerOf(
  rivals: readonly ResolvedSession[],
  link: LinkInfo | undefined,
  holderOf: HolderOf,
): string | null {
  const isShared =
    link?.kind === "bridge" && !rivals.some(({ object }) => createsInterface(object));
  if (isShared || rivals.length < 2) return null;
  const keys = rivals.map(({ session }) => session.key).sort();
  const owner = keys.find((key) => isDeviceOf(link, key));
  const joined = link === undefined ? undefined : holderOf(link.index, keys);
  return owner ?? joined ?? keys[0] ?? null;
}

const isDeviceOf = (link: LinkInfo | undefined, key: string): boolean =>
  parseLinkLabel(link?.alias ?? "")?.id === linkId.pseudowire(key);

function stateOf(
  { session: { key }, object }: ResolvedSession,
  name: string,
  winner: string | null,
  node: NodeLinks,
): InterfaceState {
  const link = node.byName(name);
  if (winner !== null && winner !== key) {
    const remedy = "use another interface";
    return unusable("InterfaceInUse", `L2tpSession ${winner} uses interface ${name}; ${remedy}`);
  }
  const isOwn = isDeviceOf(link, key) && deviceKindOfLink(link?.kind ?? "") !== undefined;
  if (createsInterface(object)) {
    if (link === undefined || isOwn) return { kind: "own" };
    const remedy = "use another name, or omit create to join the interface";
    return unusable("NameInUse", `interface ${name} already exists on the node; ${remedy}`);
  }
  if (link === undefined || isOwn) {
    // The plan deletes our own device of this name.
    const remedy = "create it, or set create: true to create the pseudowire's own device";
    return unusable("NoInterface", `the node has no interface ${name}; ${remedy}`);
  }
  return unfit(link, node) ?? usable(link);
}

function usable(link: LinkInfo): InterfaceState {
  const { index, mtu, up, isRunning, kind } = link;
  // The carrier of a bridge depends on its ports, including ours.
  if (kind === "bridge") return { kind: "port", bridge: foreignBridge(index), isUp: up };
  return { kind: "joined", index, mtu, isUp: isRunning };
}

function unfit(link: LinkInfo, node: NodeLinks): InterfaceState | null {
  const { name, alias, isEthernet, master } = link;
  const label = parseLinkLabel(alias);
  if (label !== undefined) {
    const remedy = "use another interface";
    return unusable("InterfaceInUse", `interface ${name} belongs to ${label.key}; ${remedy}`);
  }
  if (!isEthernet) {
    const remedy = "use a port, a VLAN or a bridge";
    return unusable("NotEthernet", `interface ${name} cannot carry Ethernet frames; ${remedy}`);
  }
  const why = node.underlay.get(link.index);
  if (why !== undefined) {
    return unusable("InterfaceIsUnderlay", `interface ${name} ${why}; use another interface`);
  }
  if (master === 0) return null;
  const above = node.masterOf(link);
  const of = above?.name ?? `link ${master}`;
  const another = above?.kind === "bridge" ? `use ${of} to add the pseudowire as a port, or ` : "";
  const remedy = `${another}remove ${name} from ${of}`;
  return unusable("InterfaceHasMaster", `interface ${name} is a port of ${of}; ${remedy}`);
}

const unusable = (reason: string, message: string): InterfaceState => ({
  kind: "unusable",
  reason,
  message: `${message.charAt(0).toUpperCase()}${message.slice(1)}.`,
});

/** Returns the egress links of all tunnels, the links below them, and their bridges, by index with the reason. */
function underlayOf(
  tunnels: Iterable<ResolvedTunnel>,
  socket: NetlinkSocket,
  links: readonly LinkInfo[],
): Map<number, string> {
  const { route } = nodePaths(socket);
  const needed = new Map<number, string>();
  for (const { tunnel } of tunnels) {
    const { name, local, remote, device, control } = tunnel;
    for (const { address } of [remote, ...(control?.backups ?? [])]) {
      try {
        const { egress } = route(address, local.address, device);
        need(egress, `carries the packets of L2tpTunnel ${name}`);
      } catch (error) {
        // Without a route there is no egress link now; each reconcile checks again.
        if (!(error instanceof SystemError)) throw error;
      }
    }
  }
  return needed;

  function need(index: number, why: string): void {
    if (index === 0 || needed.has(index)) return;
    needed.set(index, why);
    const link = links.find((one) => one.index === index) ?? getLink(socket, index);
    if (link === undefined) return;
    // The other end of a veth pair is not below it, and its index can belong to another namespace.
    if (link.kind !== "veth") need(link.peer, why);
    const isRouter = (at: number) => links.some((one) => one.index === at && one.kind === "vrf");
    if (!isRouter(link.master)) need(link.master, why);
    if (link.kind === "vrf") return;
    for (const port of links) if (port.master === index) need(port.index, why);
  }
}
