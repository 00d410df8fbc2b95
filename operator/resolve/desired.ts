/** The links that sessions and attachments ask for. */
import { createHash } from "node:crypto";
import type { Listing, SessionState } from "../../datapath/datapath.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import type { Forwarding } from "../../model/datapath.ts";
import { type LinkKind, linkId, parseLinkLabel, pseudowireLabel } from "../../model/link-label.ts";
import type { Session } from "../../model/model.ts";
import type {
  Desired,
  DesiredSession,
  Link,
  LinkRoute,
  Observed,
  PortPair,
} from "../../model/plan.ts";
import { canonicalAddress, canonicalInterfaceAddress, canonicalNetwork } from "../../net/ip.ts";
import { formatMac } from "../../net/mac.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";
import { withCircuit } from "./control.ts";
import { heldToMac } from "./mac-spoofing.ts";
import { asLeft } from "./pod-link.ts";
import type { ResolvedSession } from "./resolved.ts";

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

/**
 * The name of the interface by which the session is had: the pod's own, or what stands in the bridge;
 * null: it is missing.
 */
export function interfaceName(
  resolved: ResolvedSession | undefined,
  { name }: { readonly name: string | null },
  live: Pick<SessionState, "forwarding"> | undefined,
): string | null {
  return resolved?.mode === "Bridge" ? ownDeviceName(resolved, live) : name;
}

/** The name of the session's own device on the node. @param live as it is programmed */
export function ownDeviceName(
  { session, tunnel }: Pick<ResolvedSession, "session" | "tunnel">,
  live: Pick<SessionState, "forwarding"> | undefined,
): string {
  return traitsOf(tunnel.datapath).deviceName(live?.forwarding ?? session);
}

/** What one session wants of the node. */
export interface SessionWishes {
  readonly sessions: readonly DesiredSession[];
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

/** The links of the node and its pods that exist, by their IDs. */
export type PresentLinks = ReadonlyMap<string, Link>;

/**
 * @param attachments the session's own, of living pods, the first first
 * @param forwarding how its frames are to be forwarded; null: not, for now
 */
export function desireSession(
  resolved: ResolvedSession,
  attachments: readonly Attachment[],
  nodeName: string,
  forwarding: Forwarding | null,
  present: PresentLinks,
): SessionWishes {
  const { tunnel, mode } = resolved;
  const blank = blankLink(resolved, nodeName);
  const [first] = attachments;
  const hasDevice = traitsOf(tunnel.datapath).makesDevices || first !== undefined;
  const devices = forwarding !== null && hasDevice ? [deviceOf(resolved, forwarding, blank)] : [];
  const sessions = [programmed(resolved, forwarding, first, devices)];
  if (first === undefined) {
    return { sessions, links: devices.map((device) => ({ ...device, up: false })), pairs: [] };
  }
  if (mode === "Direct") {
    const links = devices.map((device) => placed(resolved, device, first, present));
    return { sessions, links, pairs: [] };
  }
  return { sessions, ...bridged(resolved, attachments, blank, devices, nodeName, present) };
}

function programmed(
  resolved: ResolvedSession,
  forwarding: Forwarding | null,
  first: Attachment | undefined,
  [device]: readonly Link[],
): DesiredSession {
  const { session, tunnel } = resolved;
  const { datapath } = tunnel;
  const put = (one: Session) => withCircuit(heldToMac(one, resolved, first), first !== undefined);
  const waits = traitsOf(datapath).waitsForAgreement(resolved);
  const forwarded = forwarding === null ? null : put(forwarding.session);
  return {
    session: put(session),
    datapath,
    ...(waits ? { forwarding: forwarded } : {}),
    link: device?.id ?? null,
  };
}

function placed(
  resolved: ResolvedSession,
  device: Link,
  attachment: Attachment,
  present: PresentLinks,
): Link {
  const { up, routes, ...rest } = inPod(resolved, attachment);
  // Through what is down there are no routes.
  const wanted = { ...device, ...rest, up: up && device.up, routes: device.up ? routes : [] };
  return asLeft(wanted, attachment, present.get(device.id));
}

function bridged(
  resolved: ResolvedSession,
  attachments: readonly Attachment[],
  blank: Link,
  devices: readonly Link[],
  nodeName: string,
  present: PresentLinks,
): Pick<SessionWishes, "links" | "pairs"> {
  const { session } = resolved;
  const bridge: Link = {
    ...blank,
    ...notDevice("bridge", linkId.bridge(session.key)),
    name: bridgeName(session.sessionId),
    mac: stableMac(nodeName, session.key, "bridge"),
    up: true,
  };
  const links: Link[] = [bridge, ...devices.map((device) => ({ ...device, bridge: bridge.id }))];
  const pairs: PortPair[] = [];
  for (const attachment of attachments) {
    const key = attachmentKey(attachment);
    const port: Link = {
      ...blank,
      ...notDevice("port", linkId.port(key)),
      name: portName(attachment),
      mac: null,
      up: true,
      bridge: bridge.id,
    };
    const pod = asLeft(
      { ...blank, ...notDevice("pod", linkId.pod(key)), ...inPod(resolved, attachment) },
      attachment,
      present.get(linkId.pod(key)),
    );
    links.push(port, pod);
    pairs.push({ port: port.id, pod: pod.id });
  }
  return { links, pairs };
}

/** What all links of the session begin with. */
function blankLink({ session, tunnel }: ResolvedSession, nodeName: string): Link {
  return {
    id: linkId.pseudowire(session.key),
    kind: "pseudowire",
    datapath: traitsOf(tunnel.datapath).device.name,
    label: "",
    netns: null,
    name: "",
    mtu: session.mtu,
    mac: stableMac(nodeName, session.key),
    up: false,
    bridge: null,
    addresses: [],
    routes: [],
  };
}

/** As it stands on the node while nobody is attached, but for whether it is up. */
function deviceOf({ tunnel }: ResolvedSession, { session, isUp }: Forwarding, blank: Link): Link {
  const label = pseudowireLabel(session.key, session.sessionId);
  const name = traitsOf(tunnel.datapath).deviceName(session);
  return { ...blank, label, name, up: isUp };
}

/** Another kind of link than the session's own device. */
function notDevice(kind: LinkKind, id: string) {
  return { id, kind, datapath: null, label: id };
}

function inPod({ object }: ResolvedSession, { netns, ifname, mac, addresses, routes }: Attachment) {
  const isSilent = object.spec.attachment?.announce === false;
  return {
    ...(isSilent ? { isSilent } : {}),
    netns,
    name: ifname,
    mac,
    up: true,
    // As the kernel lists them: or else they would seem to be missing for ever.
    addresses: addresses.map(canonicalInterfaceAddress),
    routes: canonicalRoutes({ routes }),
  };
}

export function canonicalRoutes({ routes }: Pick<Attachment, "routes">): LinkRoute[] {
  return routes.map(({ destination, gateway, ...rest }) => ({
    ...rest,
    destination: canonicalNetwork(destination),
    gateway: gateway === null ? null : canonicalAddress(gateway),
  }));
}

/** What all sessions together want, without the tunnels. */
export function desireLinks(
  sessions: Iterable<ResolvedSession>,
  attachments: ReadonlyMap<string, readonly Attachment[]>,
  nodeName: string,
  forwardingOf: (resolved: ResolvedSession) => Forwarding | null,
  present: PresentLinks,
): Omit<Desired, "tunnels"> {
  const parts = Array.from(sessions, (resolved) => {
    const attached = attachments.get(resolved.session.key) ?? [];
    return desireSession(resolved, attached, nodeName, forwardingOf(resolved), present);
  });
  return {
    sessions: parts.flatMap((part) => part.sessions),
    links: parts.flatMap(({ links }) => links),
    pairs: parts.flatMap(({ pairs }) => pairs),
  };
}

/** How sessions are to be forwarded: as they are put, or as their ends have agreed, which the listing tells. */
export function forwardings(listing: Listing): (resolved: ResolvedSession) => Forwarding | null {
  const tunnels = new Map(listing.tunnels.map((state) => [state.tunnel.name, state]));
  const sessions = new Map(
    listing.sessions.map((state) => [`${state.datapath} ${state.session.key}`, state]),
  );
  return ({ session, tunnel }) => {
    const held = tunnels.get(tunnel.name);
    const state = sessions.get(`${tunnel.datapath} ${session.key}`);
    return traitsOf(tunnel.datapath).forwarding(
      { session, tunnel },
      {
        tunnel: held?.isLost === true ? undefined : held?.tunnel,
        session: state && { ...state, established: state.control?.established ?? null },
      },
    );
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
      ...kept.map(({ session, datapath, forwarding }) => ({
        session,
        datapath,
        ...(forwarding === undefined ? {} : { forwarding }),
        link: keptIds.has(linkId.pseudowire(session.key)) ? linkId.pseudowire(session.key) : null,
      })),
    ],
    links: [...desired.links, ...keptLinks],
    pairs: desired.pairs,
  };
}
