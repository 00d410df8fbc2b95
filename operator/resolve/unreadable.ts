/**
 * Sessions that may be attached to a pod whose attachment cannot be read. They and the pod's interface stay unchanged
 * until the file is removed. Pure.
 */
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { type Attachment, attachmentKey } from "../../model/attachments/attachment.ts";
import { linkId, parseLinkLabel } from "../../model/link-label.ts";
import type { Desired, Link, Observed, ObservedSession } from "../../model/plan.ts";

export interface Holding {
  readonly desired: Desired;
  readonly observed: Observed;
  /** Keys of the sessions that stay unchanged. */
  readonly held: ReadonlySet<string>;
}

/** Returns the state with such sessions unchanged. @param known the readable attachments, leaving ones included */
export function holdUnknown(
  desired: Desired,
  observed: Observed,
  known: readonly Attachment[],
): Holding {
  const attached = new Set(known.map(({ session }) => session));
  const ports = unknownPorts(observed, known);
  const bridges = new Set(ports.flatMap(({ bridge }) => bridge ?? []));
  const links = new Map(observed.links.map((link) => [link.id, link]));
  const isWanted = new Set(desired.sessions.map(keyed));
  const isElsewhere = ({ session, deviceOpen }: ObservedSession): boolean => {
    const link = links.get(linkId.pseudowire(session.key));
    return link === undefined ? deviceOpen : link.netns !== null;
  };
  const inPods = observed.sessions.filter((item) => {
    const { key } = item.session;
    const isCandidate = isWanted.has(keyed(item)) && !attached.has(key);
    return isCandidate && !bridges.has(linkId.bridge(key)) && isElsewhere(item);
  });
  const inBridges = observed.sessions.filter(({ session: { key } }) =>
    bridges.has(linkId.bridge(key)),
  );
  const unseen = inPods.filter(({ session }) => !links.has(linkId.pseudowire(session.key)));
  const all = { ...observed, links: [...observed.links, ...unseen.map(deviceInSomePod)] };
  // A bridge that is shared with a known attachment is already desired.
  const wantedLinks = new Set(desired.links.map(({ id }) => id));
  const lone = inBridges.filter(({ session }) => !wantedLinks.has(linkId.bridge(session.key)));
  const frozen = new Set([...inPods, ...lone].map(({ session }) => session.key));
  return {
    desired: freeze(desired, all, frozen, ports),
    observed: all,
    held: new Set([...inPods, ...inBridges].map(({ session }) => session.key)),
  };
}

/** Keeps the bridge of a held session while a known pod leaves it, since it may join other pods. */
export function keepBridge(desired: Desired, observed: Observed): Desired {
  const bridge = observed.links.find(({ kind }) => kind === "bridge");
  if (bridge === undefined || desired.links.some(({ id }) => id === bridge.id)) return desired;
  const key = parseLinkLabel(bridge.id)?.key ?? "";
  return freeze(desired, observed, new Set([key]), []);
}

const keyed = ({ session, datapath }: Pick<ObservedSession, "session" | "datapath">): string =>
  `${datapath} ${session.key}`;

function unknownPorts({ links }: Observed, known: readonly Attachment[]): readonly Link[] {
  const ids = new Set(known.map((attachment) => linkId.port(attachmentKey(attachment))));
  return links.filter(({ kind, id }) => kind === "port" && !ids.has(id));
}

/** Replaces the desired state of these sessions by the observed one, and keeps these ports. */
function freeze(
  desired: Desired,
  observed: Observed,
  keys: ReadonlySet<string>,
  ports: readonly Link[],
): Desired {
  const isFrozen = ({ id, kind }: Link): boolean => {
    if (kind !== "pseudowire" && kind !== "bridge") return false;
    return keys.has(parseLinkLabel(id)?.key ?? "");
  };
  const seen = new Map(observed.sessions.map((item) => [keyed(item), item]));
  const links = new Set(observed.links.map(({ id }) => id));
  return {
    ...desired,
    sessions: desired.sessions.map((item) => {
      const known = keys.has(item.session.key) ? seen.get(keyed(item)) : undefined;
      if (known === undefined) return item;
      const device = linkId.pseudowire(item.session.key);
      const { datapath, session, forwarding } = known;
      return {
        ...{ datapath, session, link: links.has(device) ? device : null },
        ...(forwarding === undefined ? {} : { forwarding }),
      };
    }),
    links: [
      ...desired.links.filter((link) => !isFrozen(link)),
      ...observed.links.filter(isFrozen),
      ...ports,
    ],
  };
}

/** Returns a placeholder for a device that only its session knows. No action applies to it. */
function deviceInSomePod({ session, datapath }: ObservedSession): Link {
  const id = linkId.pseudowire(session.key);
  const place = { netns: "(a pod that is not known)", name: session.key };
  const unknown = {
    mtu: session.mtu,
    mac: null,
    up: true,
    bridge: null,
    addresses: [],
    routes: [],
  };
  const { name: kind } = traitsOf(datapath).device;
  return { id, kind: "pseudowire", datapath: kind, label: id, ...place, ...unknown };
}
