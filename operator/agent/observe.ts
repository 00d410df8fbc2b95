/** What is on the node now: our links by netlink, tunnels and sessions by the datapath. */

import type { Listing } from "../../datapath/datapath.ts";
import { listAddresses } from "../../datapath/netlink/address.ts";
import { findLink, type LinkInfo, listLinks } from "../../datapath/netlink/link.ts";
import { listRoutes } from "../../datapath/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { isErrno } from "../../datapath/sys/errno.ts";
import { type LinkLabel, linkId, parseLinkLabel } from "../../l2tp/link-label.ts";
import type { Datapath } from "../../l2tp/model.ts";
import type { Link, LinkRoute, Observed } from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import { canonicalRoutes } from "../convert/desired.ts";

/** All links that say that they are ours. @param attachments those of living pods */
export function observeLinks(
  socket: NetlinkSocket,
  attachments: readonly Attachment[],
): readonly Link[] {
  const links = labelledLinks(null, listLinks(socket));
  const byNetns = Map.groupBy(attachments, ({ netns }) => netns);
  for (const [netns, inThere] of byNetns) links.push(...podLinks(netns, inThere));
  return dedupe(links);
}

/**
 * What is programmed, and the links that go with it: what the kernel's L2TP made is a session's device
 * only where the kernel has that session, by that id.
 */
export function assemble(listing: Listing, links: readonly Link[]): Observed {
  const inKernel = new Map(
    listing.sessions
      .filter(({ datapath }) => datapath === "Kernel")
      .map(({ session }) => [linkId.pseudowire(session.key), session.sessionId]),
  );
  return {
    // Whoever has lost its tunnel in the kernel is no longer what anybody wants, and comes anew.
    tunnels: listing.tunnels.map(({ tunnel, isLost }) =>
      isLost ? { ...tunnel, tunnelId: 0 } : tunnel,
    ),
    sessions: listing.sessions.map(({ session, datapath, deviceOpen, receiving }) => ({
      session,
      datapath,
      deviceOpen,
      receiving,
    })),
    links: links.filter(({ datapath, id, label }) => {
      if (datapath !== "Kernel") return true;
      return inKernel.get(id) === parseLinkLabel(label)?.sessionId;
    }),
  };
}

/** The sessions whose devices the kernel's L2TP made, by their ids, as the labels on the devices say. */
export function kernelLabels(links: readonly Link[]): ReadonlyMap<number, string> {
  return new Map(
    links.flatMap(({ datapath, label }): [number, string][] => {
      const parsed = datapath === "Kernel" ? parseLinkLabel(label) : undefined;
      return parsed?.sessionId ? [[parsed.sessionId, parsed.key]] : [];
    }),
  );
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
export function observeSome(socket: NetlinkSocket, scope: Scope): readonly Link[] {
  const here = scope.names.flatMap((name) => findLink(socket, name) ?? []);
  const links = labelledLinks(null, here);
  if (scope.attachment !== null)
    links.push(...podLinks(scope.attachment.netns, [scope.attachment]));
  return dedupe(links.filter(({ id }) => scope.ids.has(id)));
}

/** Whoever stands twice under one id was labelled by hand; the first is ours. */
function dedupe(links: readonly Link[]): Link[] {
  const seen = new Set<string>();
  return links.filter(({ id }) => !seen.has(id) && seen.add(id));
}

function labelledLinks(netns: string | null, links: readonly LinkInfo[]): Link[] {
  const bridges = new Map(
    links.filter(({ kind }) => kind === "bridge").map(({ index, alias }) => [index, alias]),
  );
  return links.flatMap((link) => {
    const label = parseLinkLabel(link.alias);
    if (label === undefined || !canBe(link, label)) return [];
    return [observed(netns, link, label, bridges)];
  });
}

/** Who makes devices of that kind: TAP devices have one, the kernel's L2TP names none. */
const MAKERS: Readonly<Record<string, Datapath>> = {
  tun: "Userspace",
  // On the fast path.
  veth: "Userspace",
  "": "Kernel",
};

/** Who makes devices of that kind; undefined: nobody of ours. */
export const makerOf = (kind: string): Datapath | undefined => MAKERS[kind];

/** Anybody can write a label on any link; nobody can choose what kind of link it is. */
function canBe({ kind }: LinkInfo, label: LinkLabel): boolean {
  if (label.kind === "pseudowire") return kind in MAKERS;
  return kind === (label.kind === "bridge" ? "bridge" : "veth");
}

function observed(
  netns: string | null,
  link: LinkInfo,
  { id, kind }: Pick<LinkLabel, "id" | "kind">,
  bridges: ReadonlyMap<number, string>,
): Link {
  return {
    id,
    kind,
    datapath: kind === "pseudowire" ? (MAKERS[link.kind] ?? null) : null,
    label: link.alias,
    netns,
    name: link.name,
    mtu: link.mtu,
    mac: link.mac,
    up: link.up,
    // A foreign bridge is none of ours: the plan takes the link out of it again.
    bridge: link.master === 0 ? null : (bridges.get(link.master) ?? `foreign ${link.master}`),
    addresses: [],
    routes: [],
  };
}

/**
 * Links in a pod, with addresses and routes. A pod may write any label on its links, so only those count
 * that its own attachments can have; a link at the place of one is its, whatever is written on it.
 */
function podLinks(netns: string, attachments: readonly Attachment[]): Link[] {
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
        ...observed(netns, found.info, found, new Map()),
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
  const byId = new Map<string, LinkInfo>();
  for (const info of infos) {
    const label = parseLinkLabel(info.alias);
    if (label !== undefined && canBe(info, label)) byId.set(label.id, info);
  }
  const byName = new Map(infos.map((info) => [info.name, info]));
  return (attachment: Attachment) => {
    const device = { id: linkId.pseudowire(attachment.session), kind: "pseudowire" } as const;
    const port = { id: linkId.pod(attachmentKey(attachment)), kind: "pod" } as const;
    for (const known of [device, port]) {
      const info = byId.get(known.id);
      if (info !== undefined) return { info, ...known };
    }
    const info = byName.get(attachment.ifname);
    if (info?.kind === "tun") return { info, ...device };
    return info?.kind === "veth" ? { info, ...port } : undefined;
  };
}
