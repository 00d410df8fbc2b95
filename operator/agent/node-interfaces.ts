/** The interfaces of the node that sessions ask for, as they are: which can be had, and why not the others. */
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

/** Tells which session an interface is joined to now; undefined: to none. */
export type HolderOf = (index: number, sessions: readonly string[]) => string | undefined;

/** Adds to each session the interface that it asks for, with its state. */
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
  /** Why packets of tunnels need a link, by its index. */
  readonly underlay: ReadonlyMap<number, string>;
  masterOf(link: LinkInfo): LinkInfo | undefined;
}

/** Of the sessions that ask for one interface the one that has it, else the first by name; null: all may. */
function winnerOf(
  rivals: readonly ResolvedSession[],
  link: LinkInfo | undefined,
  holderOf: HolderOf,
): string | null {
  const isShared =
    link?.kind === "bridge" && !rivals.some(({ object }) => createsInterface(object));
  if (isShared || rivals.length < 2) return null;
  const keys = rivals.map(({ session }) => session.key).sort();
  const labelled = keys.find((key) => isDeviceOf(link, key));
  const joined = link === undefined ? undefined : holderOf(link.index, keys);
  return labelled ?? joined ?? keys[0] ?? null;
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
    return unusable("InterfaceInUse", `L2tpSession ${winner} has interface ${name}; name another`);
  }
  const isOwn = isDeviceOf(link, key) && deviceKindOfLink(link?.kind ?? "") !== undefined;
  if (createsInterface(object)) {
    if (link === undefined || isOwn) return { kind: "own" };
    const remedy = "name another, or leave out create to join it";
    return unusable("NameInUse", `the node has an interface ${name} already; ${remedy}`);
  }
  if (link === undefined || isOwn) {
    // A device of ours that had the name goes by itself.
    const remedy = "create it, or set create: true for a device of the pseudowire's own";
    return unusable("NoInterface", `the node has no interface ${name}; ${remedy}`);
  }
  return unfit(link, node) ?? usable(link);
}

function usable(link: LinkInfo): InterfaceState {
  const { index, mtu, up, isRunning, kind } = link;
  // The carrier of a bridge is that of its ports, and ours is one of them.
  if (kind === "bridge") return { kind: "port", bridge: foreignBridge(index), isUp: up };
  return { kind: "joined", index, mtu, isUp: isRunning };
}

function unfit(link: LinkInfo, node: NodeLinks): InterfaceState | null {
  const { name, alias, isEthernet, master } = link;
  const label = parseLinkLabel(alias);
  if (label !== undefined) {
    return unusable("InterfaceInUse", `interface ${name} belongs to ${label.key}; name another`);
  }
  if (!isEthernet) {
    const remedy = "name a port, a VLAN or a bridge";
    return unusable("NotEthernet", `interface ${name} carries no Ethernet frames; ${remedy}`);
  }
  const why = node.underlay.get(link.index);
  if (why !== undefined) {
    return unusable("InterfaceIsUnderlay", `interface ${name} ${why}; name another`);
  }
  if (master === 0) return null;
  const above = node.masterOf(link);
  const of = above?.name ?? `link ${master}`;
  const another = above?.kind === "bridge" ? `name ${of} to be another port of it, or ` : "";
  const remedy = `${another}take ${name} out of it`;
  return unusable("InterfaceHasMaster", `interface ${name} is a port of ${of}; ${remedy}`);
}

const unusable = (reason: string, message: string): InterfaceState => ({
  kind: "unusable",
  reason,
  message: `${message.charAt(0).toUpperCase()}${message.slice(1)}.`,
});

/** The links that packets of tunnels leave by, those below them, and the bridges of which they are ports. */
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
        // Without a route nothing carries them now; each pass looks again.
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
    // The other end of a veth pair is not below it, and its index may be of another namespace.
    if (link.kind !== "veth") need(link.peer, why);
    const isRouter = (at: number) => links.some((one) => one.index === at && one.kind === "vrf");
    if (!isRouter(link.master)) need(link.master, why);
    if (link.kind === "vrf") return;
    for (const port of links) if (port.master === index) need(port.index, why);
  }
}
