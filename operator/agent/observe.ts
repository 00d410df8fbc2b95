/** What is on the node now: our links by netlink, tunnels and sessions by the datapath. */
import { listAddresses } from "../../datapath/netlink/address.ts";
import { findLink, type LinkInfo, listLinks } from "../../datapath/netlink/link.ts";
import { listRoutes } from "../../datapath/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { isErrno } from "../../datapath/sys/errno.ts";
import type { Listing } from "../../datapath/tap/protocol.ts";
import {
  type LinkRoute,
  linkId,
  type Observed,
  type ObservedLink,
  parseLinkId,
} from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import { canonicalRoutes } from "../convert/desired.ts";

/** Everything of ours. @param attachments those of living pods */
export function observeAll(
  socket: NetlinkSocket,
  listing: Listing,
  attachments: readonly Attachment[],
): Observed {
  const links = labelledLinks(null, listLinks(socket));
  const byNetns = Map.groupBy(attachments, ({ netns }) => netns);
  for (const [netns, inThere] of byNetns) links.push(...podLinks(netns, inThere));
  return { ...programmed(listing), links: dedupe(links) };
}

/** Where to look for the links of one attachment and its session. */
export interface Scope {
  readonly ids: ReadonlySet<string>;
  /** Of links on the node. */
  readonly names: readonly string[];
  /** Whose namespace to look into; null where it is gone. */
  readonly attachment: Attachment | null;
}

/** The links that are in the scope: by name on the node, by label in the pod. */
export function observeSome(socket: NetlinkSocket, scope: Scope): readonly ObservedLink[] {
  const here = scope.names.flatMap((name) => findLink(socket, name) ?? []);
  const links = labelledLinks(null, here);
  if (scope.attachment !== null)
    links.push(...podLinks(scope.attachment.netns, [scope.attachment]));
  return dedupe(links.filter(({ id }) => scope.ids.has(id)));
}

export function programmed(listing: Listing): Pick<Observed, "tunnels" | "sessions"> {
  return {
    tunnels: listing.tunnels.map(({ tunnel }) => tunnel),
    sessions: listing.sessions.map(({ session, deviceOpen, receiving }) => ({
      session,
      deviceOpen,
      receiving,
    })),
  };
}

/** Whoever stands twice under one id was labelled by hand; the first is ours. */
function dedupe(links: readonly ObservedLink[]): ObservedLink[] {
  const seen = new Set<string>();
  return links.filter(({ id }) => !seen.has(id) && seen.add(id));
}

function labelledLinks(netns: string | null, links: readonly LinkInfo[]): ObservedLink[] {
  const bridges = new Map(
    links.filter(({ kind }) => kind === "bridge").map(({ index, alias }) => [index, alias]),
  );
  return links.flatMap((link) => {
    const id = parseLinkId(link.alias);
    return id === undefined ? [] : [observed(netns, link, link.alias, id.kind, bridges)];
  });
}

function observed(
  netns: string | null,
  link: LinkInfo,
  id: string,
  kind: ObservedLink["kind"],
  bridges: ReadonlyMap<number, string>,
): ObservedLink {
  return {
    id,
    kind,
    netns,
    name: link.name,
    mtu: link.mtu,
    mac: link.mac,
    up: link.up,
    // A foreign bridge is none of ours: the plan takes the link out of it again.
    bridge: link.master === 0 ? null : (bridges.get(link.master) ?? `foreign ${link.master}`),
    labelled: link.alias === id,
    addresses: [],
    routes: [],
  };
}

/**
 * Links in a pod, with addresses and routes. A pod may write any label on its links, so only those count
 * that its own attachments can have; a link at the place of one is its, whatever is written on it.
 */
function podLinks(netns: string, attachments: readonly Attachment[]): ObservedLink[] {
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  } catch (error) {
    // The pod died since we looked.
    if (isErrno(error, "ENOENT", "EINVAL")) return [];
    throw error;
  }
  try {
    const find = finder(listLinks(socket));
    const addresses = Map.groupBy(listAddresses(socket), ({ link }) => link);
    const all = listRoutes(socket);
    const routes = Map.groupBy(all, ({ link }) => link);
    const ways = Map.groupBy(all, ({ destination }) => destination);
    return attachments.flatMap((attachment) => {
      const found = find(attachment);
      if (found === undefined) return [];
      const { index } = found.info;
      const own = routes.get(index) ?? [];
      // The pod may have a way already, by another link: the first one wins.
      const isTaken = ({ destination }: LinkRoute) =>
        ways.get(destination)?.some(({ link }) => link !== index) === true;
      return {
        ...observed(netns, found.info, found.id, found.kind, new Map()),
        addresses: (addresses.get(index) ?? []).map(({ prefix }) => prefix),
        routes: [
          ...own.map(({ destination, gateway }) => ({ destination, gateway: gateway ?? null })),
          ...canonicalRoutes(attachment).filter(isTaken),
        ],
      };
    });
  } finally {
    socket.close();
  }
}

/** Finds the link of an attachment: by what is written on it, or else where it is to stand. */
function finder(infos: readonly LinkInfo[]) {
  const byAlias = new Map(infos.map((info) => [info.alias, info]));
  const byName = new Map(infos.map((info) => [info.name, info]));
  return (attachment: Attachment) => {
    const device = linkId.pseudowire(attachment.session);
    const port = linkId.pod(attachmentKey(attachment));
    const labelled = byAlias.get(device) ?? byAlias.get(port);
    const info = labelled ?? byName.get(attachment.ifname);
    if (info === undefined) return undefined;
    if (info.alias === device || (labelled === undefined && info.kind === "tun")) {
      return { info, id: device, kind: "pseudowire" } as const;
    }
    if (info.alias === port || info.kind === "veth") {
      return { info, id: port, kind: "pod" } as const;
    }
    return undefined;
  };
}
