/** What is on the node now: our links by netlink, tunnels and sessions by the datapath. */
import { listAddresses } from "../../datapath/netlink/address.ts";
import { findLink, type LinkInfo, listLinks } from "../../datapath/netlink/link.ts";
import { listRoutes } from "../../datapath/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { isErrno } from "../../datapath/sys/errno.ts";
import type { Listing } from "../../datapath/tap/protocol.ts";
import { linkId, type Observed, type ObservedLink, parseLinkId } from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";

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

/** What is in the scope: by name on the node, by label in the pod. */
export function observeSome(socket: NetlinkSocket, listing: Listing, scope: Scope): Observed {
  const here = scope.names.flatMap((name) => findLink(socket, name) ?? []);
  const links = labelledLinks(null, here);
  if (scope.attachment !== null)
    links.push(...podLinks(scope.attachment.netns, [scope.attachment]));
  return {
    ...programmed(listing),
    links: dedupe(links.filter(({ id }) => scope.ids.has(id))),
  };
}

function programmed(listing: Listing): Pick<Observed, "tunnels" | "sessions"> {
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

/** Links in a pod, with addresses and routes; one whose label is gone is known by its name. */
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
    const infos = listLinks(socket);
    const links = labelledLinks(netns, infos);
    const addresses = listAddresses(socket);
    const routes = listRoutes(socket);
    for (const attachment of attachments) {
      const info = infos.find(({ name }) => name === attachment.ifname);
      const known = links.some(({ name }) => name === attachment.ifname);
      if (info === undefined || known || info.alias !== "") continue;
      if (info.kind === "tun") {
        const id = linkId.pseudowire(attachment.session);
        links.push(observed(netns, info, id, "pseudowire", new Map()));
      } else if (info.kind === "veth") {
        const id = linkId.pod(attachmentKey(attachment));
        links.push(observed(netns, info, id, "pod", new Map()));
      }
    }
    return links.map((link) => {
      const index = infos.find(({ name }) => name === link.name)?.index;
      return {
        ...link,
        addresses: addresses.filter((item) => item.link === index).map(({ prefix }) => prefix),
        routes: routes
          .filter((item) => item.link === index)
          .map(({ destination, gateway }) => ({ destination, gateway: gateway ?? null })),
      };
    });
  } finally {
    socket.close();
  }
}
