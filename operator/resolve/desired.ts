/** The links that sessions and attachments ask for. */
import type { Listing, SessionState } from "../../datapath/datapath.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import {
  type Attachment,
  attachmentMode,
  type PresentLinks,
  stableMac,
} from "../../model/attachments/index.ts";
import type { Forwarding } from "../../model/datapath.ts";
import { linkId, parseLinkLabel, pseudowireLabel } from "../../model/link-label.ts";
import type { Session } from "../../model/model.ts";
import type { Desired, DesiredSession, Link, Observed, PortPair } from "../../model/plan.ts";
import { hasMac, pseudowireOf } from "../../model/pseudowires/index.ts";
import { withCircuit } from "./control.ts";
import type { ResolvedSession } from "./resolved.ts";
import { heldToMac } from "./session-kind.ts";

/**
 * The name of the interface by which the session is had: the pod's own, or the session's device on the node; null: it
 * is missing.
 */
export function interfaceName(
  resolved: ResolvedSession | undefined,
  { name }: { readonly name: string | null },
  live: Pick<SessionState, "forwarding"> | undefined,
): string | null {
  if (resolved === undefined || attachmentMode(resolved.mode).deviceIn === "pod") return name;
  return ownDeviceName(resolved, live);
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
  const { tunnel, session, object } = resolved;
  const blank = blankLink(resolved, nodeName);
  const [first] = attachments;
  const isWithout = pseudowireOf(session).device === null;
  const isMade = traitsOf(tunnel.datapath).makesDevices || first !== undefined;
  const isSwitched = resolved.switched?.byDevices === true;
  const hasDevice = !isWithout && (isMade || isSwitched);
  const devices = forwarding !== null && hasDevice ? [deviceOf(resolved, forwarding, blank)] : [];
  const sessions = [programmed(resolved, forwarding, first, devices)];
  if (first === undefined) {
    return {
      sessions,
      links: devices.map((device) => ({ ...device, up: isSwitched && device.up })),
      pairs: [],
    };
  }
  const isSilent = object.spec.attachment?.announce === false;
  const [device = null] = devices;
  const layout = { session, nodeName, blank, device, attachments, isSilent, present };
  return { sessions, ...attachmentMode(resolved.mode).wantedLinks(layout) };
}

function programmed(
  resolved: ResolvedSession,
  forwarding: Forwarding | null,
  first: Attachment | undefined,
  [device]: readonly Link[],
): DesiredSession {
  const { session, tunnel } = resolved;
  const { datapath } = tunnel;
  const isAttached = first !== undefined || session.switchTo !== undefined;
  const put = (one: Session) => withCircuit(heldToMac(one, resolved, first), isAttached);
  const waits = traitsOf(datapath).waitsForAgreement(resolved);
  const forwarded = forwarding === null ? null : put(forwarding.session);
  return {
    session: put(session),
    datapath,
    ...(waits ? { forwarding: forwarded } : {}),
    link: device?.id ?? null,
  };
}

/** What all links of the session begin with. */
function blankLink({ session, tunnel }: ResolvedSession, nodeName: string): Link {
  const mac = hasMac(session)
    ? { mac: stableMac(nodeName, session.key) }
    : { mac: null, hasMac: false };
  return {
    id: linkId.pseudowire(session.key),
    kind: "pseudowire",
    datapath: traitsOf(tunnel.datapath).device.name,
    label: "",
    netns: null,
    name: "",
    mtu: session.mtu,
    ...mac,
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
