/** The links that sessions and attachments ask for. */
import { createHash } from "node:crypto";
import { deviceName } from "../../l2tp/device-name.ts";
import { canonicalAddress, canonicalNetwork, canonicalPrefix } from "../../l2tp/ip.ts";
import { type LinkKind, linkId, parseLinkLabel, pseudowireLabel } from "../../l2tp/link-label.ts";
import { formatMac } from "../../l2tp/mac.ts";
import type {
  Desired,
  DesiredSession,
  Link,
  LinkRoute,
  Observed,
  PortPair,
} from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import { withCircuit } from "./control.ts";
import type { ResolvedSession } from "./resolve.ts";

export function bridgeName(sessionId: number): string {
  return `l2br-${sessionId}`;
}

export function portName(attachment: Attachment): string {
  return `l2v${digest(attachmentKey(attachment)).toString("hex").slice(0, 12)}`;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** A MAC address that stays the same for the same thing: unicast, locally administered. */
export function stableMac(...parts: readonly string[]): string {
  const bytes = digest(parts.join("\n")).subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}

/** The name of the interface by which the session is had: the pod's own, or what stands in the bridge. */
export function interfaceName(resolved: ResolvedSession | undefined, first: Attachment): string {
  if (resolved?.mode !== "Bridge") return first.ifname;
  return deviceName(resolved.session, resolved.tunnel.datapath);
}

/** What one session wants of the node. @param attachments its own, of living pods, the first first */
export function desireSession(
  { session, tunnel: { datapath }, mode }: ResolvedSession,
  attachments: readonly Attachment[],
  nodeName: string,
): { session: DesiredSession; links: Link[]; pairs: PortPair[] } {
  const id = linkId.pseudowire(session.key);
  const device: Link = {
    id,
    kind: "pseudowire",
    datapath,
    label: pseudowireLabel(session.key, session.sessionId),
    netns: null,
    name: deviceName(session, datapath),
    mtu: session.mtu,
    mac: stableMac(nodeName, session.key),
    up: false,
    bridge: null,
    addresses: [],
    routes: [],
  };
  const [first] = attachments;
  const desired: DesiredSession = {
    session: withCircuit(session, first !== undefined),
    datapath,
    link: id,
  };
  if (first === undefined) {
    // The kernel makes a device with each session.
    if (datapath === "Kernel") return { session: desired, links: [device], pairs: [] };
    return { session: { ...desired, link: null }, links: [], pairs: [] };
  }
  if (mode === "Direct") {
    return { session: desired, links: [{ ...device, ...inPod(first) }], pairs: [] };
  }
  const bridge: Link = {
    ...device,
    ...notDevice("bridge", linkId.bridge(session.key)),
    name: bridgeName(session.sessionId),
    mac: stableMac(nodeName, session.key, "bridge"),
    up: true,
  };
  const links: Link[] = [bridge, { ...device, up: true, bridge: bridge.id }];
  const pairs: PortPair[] = [];
  for (const attachment of attachments) {
    const key = attachmentKey(attachment);
    const port: Link = {
      ...device,
      ...notDevice("port", linkId.port(key)),
      name: portName(attachment),
      mac: null,
      up: true,
      bridge: bridge.id,
    };
    const pod: Link = {
      ...device,
      ...notDevice("pod", linkId.pod(key)),
      ...inPod(attachment),
    };
    links.push(port, pod);
    pairs.push({ port: port.id, pod: pod.id });
  }
  return { session: desired, links, pairs };
}

/** Another kind of link than the session's own device. */
function notDevice(kind: LinkKind, id: string) {
  return { id, kind, datapath: null, label: id };
}

function inPod({ netns, ifname, mac, addresses, routes }: Attachment) {
  return {
    netns,
    name: ifname,
    mac,
    up: true,
    // As the kernel lists them: or else they would seem to be missing for ever.
    addresses: addresses.map(canonicalPrefix),
    routes: canonicalRoutes({ routes }),
  };
}

export function canonicalRoutes({ routes }: Pick<Attachment, "routes">): LinkRoute[] {
  return routes.map(({ destination, gateway }) => ({
    destination: canonicalNetwork(destination),
    gateway: gateway === null ? null : canonicalAddress(gateway),
  }));
}

/** What all sessions together want, without the tunnels. */
export function desireLinks(
  sessions: Iterable<ResolvedSession>,
  attachments: ReadonlyMap<string, readonly Attachment[]>,
  nodeName: string,
): Omit<Desired, "tunnels"> {
  const parts = Array.from(sessions, (resolved) =>
    desireSession(resolved, attachments.get(resolved.session.key) ?? [], nodeName),
  );
  return {
    sessions: parts.map(({ session }) => session),
    links: parts.flatMap(({ links }) => links),
    pairs: parts.flatMap(({ pairs }) => pairs),
  };
}

/** What is programmed, and must not be touched although nobody can say what it should be. */
export interface Spared {
  readonly tunnels: (name: string) => boolean;
  readonly sessions: (key: string) => boolean;
}

/**
 * What is desired, and besides it whatever is spared just as it is: an object whose manifest is broken
 * keeps running in its last valid version.
 */
export function sparing(desired: Desired, observed: Observed, spared: Spared): Desired {
  const tunnels = new Set(desired.tunnels.map(({ name }) => name));
  const sessions = new Set(desired.sessions.map(({ session }) => session.key));
  const kept = observed.sessions.filter(
    ({ session }) => !sessions.has(session.key) && spared.sessions(session.key),
  );
  const keptKeys = new Set(kept.map(({ session }) => session.key));
  const usedTunnels = new Set(kept.map(({ session }) => session.tunnel));
  const keptTunnels = observed.tunnels.filter(
    ({ name }) => !tunnels.has(name) && (usedTunnels.has(name) || spared.tunnels(name)),
  );
  const wantedLinks = new Set(desired.links.map(({ id }) => id));
  const keptLinks = observed.links.filter(({ id }) => {
    if (wantedLinks.has(id)) return false;
    const parsed = parseLinkLabel(id);
    const isSessions = parsed?.kind === "pseudowire" || parsed?.kind === "bridge";
    // Of a port only its bridge says whose it is; without one nobody can, and it stays.
    return isSessions ? keptKeys.has(parsed?.key ?? "") : keptKeys.size > 0;
  });
  const keptIds = new Set(keptLinks.map(({ id }) => id));
  return {
    tunnels: [...desired.tunnels, ...keptTunnels],
    sessions: [
      ...desired.sessions,
      ...kept.map(({ session, datapath }) => ({
        session,
        datapath,
        link: keptIds.has(linkId.pseudowire(session.key)) ? linkId.pseudowire(session.key) : null,
      })),
    ],
    links: [...desired.links, ...keptLinks],
    pairs: desired.pairs,
  };
}
