/** The desired links of sessions and attachments. */
import type { Listing, SessionState } from "../../datapath/datapath.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import {
  type Attachment,
  attachmentMode,
  hasCircuit,
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
 * Returns the name of the interface that shows the session: the pod's own, or the session's device on the node; null:
 * it is missing.
 */
export function interfaceName(
  resolved: ResolvedSession | undefined,
  { name }: { readonly name: string | null },
  live: Pick<SessionState, "forwarding"> | undefined,
): string | null {
  if (resolved === undefined || attachmentMode(resolved.mode).deviceIn === "pod") return name;
  return ownDeviceName(resolved, live);
}

/** Returns the name of the session's own device on the node. @param live the programmed state */
export function ownDeviceName(
  { session, tunnel, nodeInterface }: Pick<ResolvedSession, "session" | "tunnel" | "nodeInterface">,
  live: Pick<SessionState, "forwarding"> | undefined,
): string {
  if (nodeInterface?.state.kind === "own") return nodeInterface.name;
  return traitsOf(tunnel.datapath).deviceName(live?.forwarding ?? session);
}

/** The desired state of one session. */
export interface SessionWishes {
  readonly sessions: readonly DesiredSession[];
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

/**
 * Returns the desired state of a session.
 * @param attachments of the session's living pods, oldest first
 * @param forwarding of its frames; null: they are not forwarded now
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
  const { onNode } = attachmentMode(resolved.mode);
  const isNodes = onNode !== undefined && first === undefined;
  const isMade = traitsOf(tunnel.datapath).makesDevices || first !== undefined || isNodes;
  const isSwitched = resolved.switched?.byDevices === true;
  const hasDevice = !isWithout && (isMade || isSwitched);
  const devices = forwarding !== null && hasDevice ? [deviceOf(resolved, forwarding, blank)] : [];
  const sessions = [programmed(resolved, forwarding, first, devices)];
  if (isNodes) {
    const { nodeInterface } = resolved;
    const links = devices.map((device) => onNode.wantedDevice(device, nodeInterface));
    return { sessions, links, pairs: [] };
  }
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
  const isActive =
    first !== undefined || hasCircuit(resolved.nodeInterface) || session.switchTo !== undefined;
  const put = (one: Session) => withCircuit(heldToMac(one, resolved, first), isActive);
  const waits = traitsOf(datapath).waitsForAgreement(resolved);
  const forwarded = forwarding === null ? null : put(forwarding.session);
  return {
    session: put(session),
    datapath,
    ...(waits ? { forwarding: forwarded } : {}),
    link: device?.id ?? null,
  };
}

/** Returns the common settings of all links of the session. */
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

/** Returns the session's device on the node, without an attached pod. */
function deviceOf({ tunnel }: ResolvedSession, { session, isUp }: Forwarding, blank: Link): Link {
  const label = pseudowireLabel(session.key, session.sessionId);
  const name = traitsOf(tunnel.datapath).deviceName(session);
  return { ...blank, label, name, up: isUp };
}

/** Returns the desired state of all sessions, without the tunnels. */
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

/** Returns a function for the forwarding of a session: as configured, or as negotiated according to the listing. */
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

/** Programmed objects that must be kept, because their manifests cannot be read. */
export interface Retained {
  readonly tunnels: (name: string) => boolean;
  readonly sessions: (key: string) => boolean;
}

/**
 * Returns the desired state with the retained objects as they are: an object with an invalid manifest keeps its last
 * valid version.
 */
export function retaining(desired: Desired, observed: Observed, retained: Retained): Desired {
  const tunnels = new Set(desired.tunnels.map(({ name }) => name));
  const sessions = new Set(desired.sessions.map(({ session }) => session.key));
  const kept = observed.sessions.filter(
    ({ session }) => !sessions.has(session.key) && retained.sessions(session.key),
  );
  const keptKeys = new Set(kept.map(({ session }) => session.key));
  const usedTunnels = new Set(kept.map(({ session }) => session.tunnel));
  const keptTunnels = observed.tunnels.filter(
    ({ name }) => !tunnels.has(name) && (usedTunnels.has(name) || retained.tunnels(name)),
  );
  const wantedLinks = new Set(desired.links.map(({ id }) => id));
  const keptLinks = observed.links.filter(({ id }) => {
    if (wantedLinks.has(id)) return false;
    const parsed = parseLinkLabel(id);
    const isSessions = parsed?.kind === "pseudowire" || parsed?.kind === "bridge";
    // Only the bridge tells the session of a port. A port without a bridge is kept.
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
