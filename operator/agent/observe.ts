/** Observes the node: l2tp-cni's links by netlink, tunnels and sessions from the datapaths' listing. */

import type { Listing } from "../../datapath/datapath.ts";
import { deviceKind, deviceKindOfLink, traitsOf } from "../../datapath/registry/datapaths.ts";
import { isErrno } from "../../linux/errno.ts";
import { findLink, type LinkInfo, listLinks } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import {
  type Attachment,
  attachmentKey,
  type PodDevice,
} from "../../model/attachments/attachment.ts";
import { forwardedSession } from "../../model/datapath.ts";
import { type LinkLabel, linkId, parseLinkLabel } from "../../model/link-label.ts";
import type { Link, Observed } from "../../model/plan.ts";
import type { IsNamed } from "./own-interfaces.ts";
import { listStack } from "./pod-stack.ts";
import { hasStrayDevice } from "./stray-device.ts";

/** Links of l2tp-cni, and the sessions whose devices the kernel deletes with them (`DeviceKind.isSessions`). */
export interface SeenLinks {
  readonly links: readonly Link[];
  /** Keys of sessions by the session ID in the kernel. */
  readonly kernelSessions: ReadonlyMap<number, string>;
  /** Session IDs of such devices, by the IDs of the links. */
  readonly sessionIds: ReadonlyMap<string, number>;
  /** Functions from a link's index to the link in the pod, by the key of an attachment without a found interface. */
  readonly candidates: ReadonlyMap<string, (index: number) => Link | undefined>;
  /** Names of Ethernet devices of the node that could be the kernel's L2TP's, and belong to no session. */
  readonly unclaimed: readonly string[];
}

/** The part of the node to observe. */
export type Scope =
  /** All of the node, and the pods of living attachments. */
  | { readonly living: readonly Attachment[] }
  /** The links of one session in one pod. */
  | {
      readonly ids: ReadonlySet<string>;
      /** The names of links on the node. */
      readonly names: readonly string[];
      /** The attachment whose pod is observed; null: the pod does not exist. */
      readonly attachment: Attachment | null;
    };

/**
 * Returns the links of l2tp-cni in the scope. On the node a label identifies them. A pod can write labels, so in a pod
 * the record of the attachment identifies them.
 * @param all attachments, including those of deleted pods
 */
export function observeLinks(
  socket: NetlinkSocket,
  all: readonly Attachment[],
  scope: Scope,
  isNamed: IsNamed,
): SeenLinks {
  if ("living" in scope) return see(listLinks(socket), all, scope.living, () => true, isNamed);
  const { ids, names, attachment } = scope;
  const here = names.flatMap((name) => findLink(socket, name) ?? []);
  const living = attachment === null ? [] : [attachment];
  return see(here, all, living, (id) => ids.has(id), isNamed);
}

/**
 * Combines the programmed objects with the observed links. A kernel device belongs to a session only if the session
 * forwards frames with the device's session ID.
 */
export function assemble(
  listing: Listing,
  { links, sessionIds, candidates, unclaimed }: SeenLinks,
  living: readonly Attachment[],
): Observed {
  const forwarded = new Map(
    listing.sessions.flatMap((state) => {
      const id = linkId.pseudowire(state.session.key);
      const isSessions = traitsOf(state.datapath).device.isSessions;
      const session = isSessions ? forwardedSession(state) : null;
      return session === null ? [] : [[id, session.sessionId] as const];
    }),
  );
  const found = [
    ...links.filter(
      ({ datapath, id }) =>
        !deviceKind(datapath)?.isSessions || forwarded.get(id) === sessionIds.get(id),
    ),
    ...openedLinks(listing, candidates, living),
  ];
  return {
    // Tunnel ID 0 differs from every desired one, so that the plan replaces a tunnel that has lost a part.
    tunnels: listing.tunnels.map(({ tunnel, isLost }) =>
      isLost ? { ...tunnel, tunnelId: 0 } : tunnel,
    ),
    sessions: listing.sessions.map(({ session, datapath, deviceOpen, receiving, forwarding }) => ({
      ...{ session, datapath, deviceOpen, receiving },
      ...(forwarding === undefined ? {} : { forwarding }),
    })),
    links: [...found, ...linksElsewhere(listing, found, living, unclaimed)],
  };
}

/** Returns interfaces that a datapath has opened, and that no attachment has recorded. */
function openedLinks(
  { sessions }: Listing,
  candidates: SeenLinks["candidates"],
  living: readonly Attachment[],
): Link[] {
  const indexes = new Map(
    sessions.map(({ session, deviceIndex = 0 }) => [session.key, deviceIndex]),
  );
  return living.flatMap((attachment) => {
    const index = indexes.get(attachment.session) ?? 0;
    if (index === 0 || attachment.device?.kind === "pod") return [];
    return candidates.get(attachmentKey(attachment))?.(index) ?? [];
  });
}

/**
 * Returns interfaces that pods moved to other namespaces: their sessions, or their ports on the node, still have them.
 * A kernel device returns to the node when such a namespace is deleted.
 */
function linksElsewhere(
  listing: Listing,
  found: readonly Link[],
  living: readonly Attachment[],
  unclaimed: readonly string[],
): Link[] {
  const ids = new Set(found.map(({ id }) => id));
  const sessions = new Map(listing.sessions.map((state) => [state.session.key, state]));
  const isHeld = (attachment: Attachment, device: PodDevice) => {
    if (device.kind === "pod") return ids.has(linkId.port(attachmentKey(attachment)));
    const state = sessions.get(attachment.session);
    const kind = state && traitsOf(state.datapath).device;
    if (kind?.name !== device.datapath || !state?.deviceOpen) return false;
    if (!kind.isSessions) return true;
    const isSame = forwardedSession(state)?.sessionId === device.sessionId;
    return isSame && !hasStrayDevice(unclaimed);
  };
  return living.flatMap((attachment) => {
    const { device, netns, ifname: name, mac } = attachment;
    if (!device) return [];
    const id = idOf(attachment, device);
    if (ids.has(id) || !isHeld(attachment, device)) return [];
    const { kind, datapath, mtu } = device;
    const place = { netns, name, index: 0, isElsewhere: true };
    const rest = { label: "", mtu, mac, up: true, bridge: null, addresses: [], routes: [] };
    return { id, kind, datapath, ...place, ...rest };
  });
}

function idOf(attachment: Attachment, { kind }: PodDevice): string {
  return kind === "pod"
    ? linkId.pod(attachmentKey(attachment))
    : linkId.pseudowire(attachment.session);
}

function see(
  here: readonly LinkInfo[],
  all: readonly Attachment[],
  living: readonly Attachment[],
  isWanted: (id: string) => boolean,
  isNamed: IsNamed,
): SeenLinks {
  const left = new Map(
    all.flatMap(({ device, session }) =>
      deviceKind(device?.datapath)?.isSessions ? [[device?.sessionId ?? 0, session] as const] : [],
    ),
  );
  const kernelSessions = new Map(left);
  const sessionIds = new Map<string, number>();
  const links = new Map<string, Link>();
  const claimed = new Set<string>();
  const bridges = new Map(
    here.flatMap(({ kind, index, alias }) =>
      kind === "bridge" && parseLinkLabel(alias)?.kind === "bridge"
        ? [[index, alias] as const]
        : [],
    ),
  );
  for (const info of here) {
    const label = labelOnNode(info, left) ?? labelOfOwn(info, here, isNamed);
    if (label === undefined) continue;
    claimed.add(info.name);
    add(describe(null, info, label, bridges), label.sessionId ?? 0, label.key);
  }
  const candidates = new Map<string, (index: number) => Link | undefined>();
  for (const [netns, inThere] of Map.groupBy(living, (attachment) => attachment.netns)) {
    const seen = podLinks(netns, inThere);
    for (const { link, sessionId, key } of seen.found) add(link, sessionId, key);
    for (const [key, find] of seen.candidates) candidates.set(key, find);
  }
  return {
    links: [...links.values()].filter(({ id }) => isWanted(id)),
    kernelSessions,
    sessionIds,
    candidates,
    unclaimed: here
      .filter(({ name, kind, isEthernet }) => kind === "" && isEthernet && !claimed.has(name))
      .map(({ name }) => name),
  };

  function add(link: Link, sessionId: number, key: string): void {
    // If two links have one ID, the second was labeled by hand.
    if (links.has(link.id)) return;
    links.set(link.id, link);
    if (!deviceKind(link.datapath)?.isSessions) return;
    sessionIds.set(link.id, sessionId);
    kernelSessions.set(sessionId, key);
  }
}

/**
 * Returns the label of a link on the node. A kernel device returns from a deleted pod with the name and label that the
 * pod set. So its label counts only if the device has the agent's name, and no pod has the session's device.
 */
function labelOnNode(info: LinkInfo, left: ReadonlyMap<number, string>): LinkLabel | undefined {
  const label = parseLinkLabel(info.alias);
  if (label === undefined || !canBe(info, label)) return undefined;
  const kind = deviceKindOfLink(info.kind);
  if (label.kind !== "pseudowire" || !kind?.isSessions) return label;
  const isNamed = kind.sessionIdOf(info.name) === label.sessionId;
  return isNamed && !left.has(label.sessionId ?? 0) ? label : undefined;
}

/**
 * Returns the label of a kernel device that is a node interface. A device that a deleted pod left has the name and the
 * label of the pod's choice, so it does not count while the session has a device with the kernel's name.
 */
function labelOfOwn(
  info: LinkInfo,
  here: readonly LinkInfo[],
  isNamed: IsNamed,
): LinkLabel | undefined {
  const label = parseLinkLabel(info.alias);
  if (label?.kind !== "pseudowire" || !canBe(info, label)) return undefined;
  const kind = deviceKindOfLink(info.kind);
  if (!kind?.isSessions || !isNamed(label.key, info.name)) return undefined;
  return here.some(({ name }) => kind.sessionIdOf(name) === label.sessionId) ? undefined : label;
}

/** True if the link's kind matches the label. A pod can write any label on a link, but cannot change its kind. */
function canBe({ kind }: LinkInfo, label: Pick<LinkLabel, "kind">): boolean {
  if (label.kind === "pseudowire") return deviceKindOfLink(kind) !== undefined;
  return kind === (label.kind === "bridge" ? "bridge" : "veth");
}

function describe(
  netns: string | null,
  link: LinkInfo,
  { id, kind }: Pick<LinkLabel, "id" | "kind">,
  bridges: ReadonlyMap<number, string>,
): Link {
  return {
    id,
    kind,
    datapath: kind === "pseudowire" ? (deviceKindOfLink(link.kind)?.name ?? null) : null,
    label: link.alias,
    netns,
    name: link.name,
    mtu: link.mtu,
    ...(link.isEthernet ? { mac: link.mac } : { mac: null, hasMac: false }),
    up: link.up,
    // On the node the plan removes the link from a foreign bridge. In a pod, bridges are up to the pod.
    bridge: link.master === 0 ? null : (bridges.get(link.master) ?? foreignBridge(link.master)),
    addresses: [],
    routes: [],
    index: link.index,
  };
}

const FOREIGN = "foreign ";
export const foreignBridge = (index: number): string => `${FOREIGN}${index}`;

/** Returns the index of a foreign bridge; undefined for a bridge of l2tp-cni. */
export function foreignBridgeIndex(bridge: string): number | undefined {
  return bridge.startsWith(FOREIGN) ? Number(bridge.slice(FOREIGN.length)) : undefined;
}

interface PodLink {
  readonly link: Link;
  readonly sessionId: number;
  /** The key of the session. */
  readonly key: string;
}

/** Returns the interfaces of attachments in a pod, with addresses and routes. */
function podLinks(
  netns: string,
  attachments: readonly Attachment[],
): Pick<SeenLinks, "candidates"> & { readonly found: readonly PodLink[] } {
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  } catch (error) {
    // The pod was deleted meanwhile.
    if (isErrno(error, "ENOENT", "EINVAL")) return { found: [], candidates: new Map() };
    throw error;
  }
  try {
    const infos = new Map(listLinks(socket).map((info) => [info.index, info]));
    const stackOf = listStack(socket);
    const describeIn = (info: LinkInfo, label: Pick<LinkLabel, "id" | "kind">): Link => ({
      ...describe(netns, info, label, new Map()),
      ...stackOf(info.index),
    });
    const found: PodLink[] = [];
    const candidates = new Map<string, (index: number) => Link | undefined>();
    for (const attachment of attachments) {
      const known = findOf(attachment, infos);
      if (known !== undefined) {
        const link = describeIn(known.info, known);
        found.push({ link, sessionId: known.sessionId, key: attachment.session });
        continue;
      }
      const label = { id: linkId.pseudowire(attachment.session), kind: "pseudowire" } as const;
      candidates.set(attachmentKey(attachment), (index) => {
        const info = infos.get(index);
        const isIt = info !== undefined && deviceKindOfLink(info.kind)?.isSessions === false;
        return isIt ? describeIn(info, label) : undefined;
      });
    }
    return { found, candidates };
  } finally {
    socket.close();
  }
}

interface Found extends Pick<LinkLabel, "id" | "kind"> {
  readonly info: LinkInfo;
  readonly sessionId: number;
}

/** Finds the interface of an attachment by its recorded index, or by label and name while ADD creates it. */
function findOf(attachment: Attachment, infos: ReadonlyMap<number, LinkInfo>): Found | undefined {
  const { device } = attachment;
  if (!device) return findUnrecorded(attachment, [...infos.values()]);
  const { kind, datapath, sessionId } = device;
  const info = infos.get(device.index);
  if (info === undefined) return undefined;
  const isIt =
    kind === "pod" ? info.kind === "veth" : deviceKindOfLink(info.kind)?.name === datapath;
  return isIt ? { info, id: idOf(attachment, device), kind, sessionId } : undefined;
}

/**
 * Finds an interface without a record, from an unfinished ADD or an earlier version: by its label, else by its name. A
 * pod can write any label on its links, so only the labels of this attachment count.
 */
function findUnrecorded(attachment: Attachment, infos: readonly LinkInfo[]): Found | undefined {
  const device = { id: linkId.pseudowire(attachment.session), kind: "pseudowire" } as const;
  const port = { id: linkId.pod(attachmentKey(attachment)), kind: "pod" } as const;
  for (const known of [device, port]) {
    const info = infos.find(
      (each) => parseLinkLabel(each.alias)?.id === known.id && canBe(each, known),
    );
    const sessionId = parseLinkLabel(info?.alias ?? "")?.sessionId ?? 0;
    if (info !== undefined) return { info, ...known, sessionId };
  }
  const info = infos.find(({ name }) => name === attachment.ifname);
  if (info?.kind === "tun") return { info, ...device, sessionId: 0 };
  return info?.kind === "veth" ? { info, ...port, sessionId: 0 } : undefined;
}
