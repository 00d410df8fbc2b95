/** The links that sessions and attachments ask for. */
import { createHash } from "node:crypto";
import type { SessionState } from "../../datapath/datapath.ts";
import { deviceName } from "../../model/device-name.ts";
import { controlHalfOf, wholeName } from "../../model/halves.ts";
import { type LinkKind, linkId, parseLinkLabel, pseudowireLabel } from "../../model/link-label.ts";
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
import { type Carried, isAgreedOn, ownDeviceName } from "./halves.ts";
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
  live: Pick<SessionState, "carried"> | undefined,
): string | null {
  return resolved?.mode === "Bridge" ? ownDeviceName(resolved, live) : name;
}

/** What one session wants of the node. */
export interface SessionWishes {
  /** One, or that of each half. */
  readonly sessions: readonly DesiredSession[];
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

/** The links of the node and its pods that exist, by their IDs. */
export type PresentLinks = ReadonlyMap<string, Link>;

/**
 * @param attachments the session's own, of living pods, the first first
 * @param carried null: its ends have not agreed how
 */
export function desireSession(
  resolved: ResolvedSession,
  attachments: readonly Attachment[],
  nodeName: string,
  carried: Carried | null,
  present: PresentLinks,
): SessionWishes {
  const { tunnel, mode } = resolved;
  const blank = blankLink(resolved, nodeName);
  const [first] = attachments;
  // The kernel makes a device with each session.
  const hasDevice = tunnel.datapath === "Kernel" || first !== undefined;
  const devices = carried !== null && hasDevice ? [deviceOf(carried, blank)] : [];
  const sessions = programmed(resolved, carried, first, devices);
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
  carried: Carried | null,
  first: Attachment | undefined,
  [device]: readonly Link[],
): DesiredSession[] {
  const { session, tunnel } = resolved;
  const isAttached = first !== undefined;
  const found: DesiredSession[] = [];
  if (isAgreedOn(resolved)) {
    const half = withCircuit(controlHalfOf(session), isAttached);
    found.push({ session: half, datapath: "Userspace", link: null });
  }
  if (carried !== null) {
    const { datapath } = tunnel;
    const own = withCircuit(heldToMac(carried.session, resolved, first), isAttached);
    found.push({ session: own, datapath, link: device?.id ?? null });
  }
  return found;
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
    datapath: tunnel.datapath,
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
function deviceOf({ session, isUp }: Carried, blank: Link): Link {
  const label = pseudowireLabel(session.key, session.sessionId);
  const name = deviceName(session, blank.datapath ?? "Userspace");
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
  carrierOf: (resolved: ResolvedSession) => Carried | null,
  present: PresentLinks,
): Omit<Desired, "tunnels"> {
  const parts = Array.from(sessions, (resolved) => {
    const attached = attachments.get(resolved.session.key) ?? [];
    return desireSession(resolved, attached, nodeName, carrierOf(resolved), present);
  });
  return {
    sessions: parts.flatMap((part) => part.sessions),
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
    ({ session }) => !sessions.has(session.key) && spared.sessions(wholeName(session.key)),
  );
  const keptKeys = new Set(kept.map(({ session }) => session.key));
  const usedTunnels = new Set(kept.map(({ session }) => session.tunnel));
  const keptTunnels = observed.tunnels.filter(
    ({ name }) => !tunnels.has(name) && (usedTunnels.has(name) || spared.tunnels(wholeName(name))),
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
