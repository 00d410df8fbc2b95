/** The links that sessions and attachments ask for. */
import type { SessionState } from "../../datapath/datapath.ts";
import {
  type Attachment,
  attachmentMode,
  type PresentLinks,
  stableMac,
} from "../../model/attachments/index.ts";
import { deviceName } from "../../model/device-name.ts";
import { controlHalfOf, wholeName } from "../../model/halves.ts";
import { linkId, parseLinkLabel, pseudowireLabel } from "../../model/link-label.ts";
import type { Desired, DesiredSession, Link, Observed, PortPair } from "../../model/plan.ts";
import { pseudowireOf } from "../../model/pseudowires/index.ts";
import { withCircuit } from "./control.ts";
import { type Carried, isAgreedOn, ownDeviceName } from "./halves.ts";
import type { ResolvedSession } from "./resolve.ts";
import { heldToMac } from "./session-kind.ts";

/**
 * The name of the interface by which the session is had: the pod's own, or the session's device on the node; null: it
 * is missing.
 */
export function interfaceName(
  resolved: ResolvedSession | undefined,
  { name }: { readonly name: string | null },
  live: Pick<SessionState, "carried"> | undefined,
): string | null {
  if (resolved === undefined || attachmentMode(resolved.mode).deviceIn === "pod") return name;
  return ownDeviceName(resolved, live);
}

/** What one session wants of the node. */
export interface SessionWishes {
  /** One, or that of each half. */
  readonly sessions: readonly DesiredSession[];
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

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
  const { tunnel, session, object } = resolved;
  const blank = blankLink(resolved, nodeName);
  const [first] = attachments;
  // The kernel makes a device with each session.
  const isWithout = pseudowireOf(session).device === null;
  const hasDevice = !isWithout && (tunnel.datapath === "Kernel" || first !== undefined);
  const devices = carried !== null && hasDevice ? [deviceOf(carried, blank)] : [];
  const sessions = programmed(resolved, carried, first, devices);
  if (first === undefined) {
    return { sessions, links: devices.map((device) => ({ ...device, up: false })), pairs: [] };
  }
  const isSilent = object.spec.attachment?.announce === false;
  const [device = null] = devices;
  const layout = { session, nodeName, blank, device, attachments, isSilent, present };
  return { sessions, ...attachmentMode(resolved.mode).wantedLinks(layout) };
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
    mac: pseudowireOf(session).device?.hasMac === false ? null : stableMac(nodeName, session.key),
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
