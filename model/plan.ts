/**
 * Plans the actions that turn the observed state into the desired state: pure, over plain data. A plan after applying
 * them is empty (plan.test.ts). The plan uses traits of datapaths (datapath.ts), and no datapath's name.
 */

import { sameData } from "../l2tp/same-data.ts";
import type { Change } from "./change.ts";
import { forwardedSession, type TraitsOf } from "./datapath.ts";
import { type LinkKind, linkId, parseLinkLabel } from "./link-label.ts";
import type { Session, Tunnel } from "./model.ts";

/** Place of a link: a network namespace by path (null: the node's), and the name there. */
export interface Place {
  readonly netns: string | null;
  readonly name: string;
}

/** A link of l2tp-cni. */
export interface Link extends Place {
  readonly id: string;
  readonly kind: LinkKind;
  /** The kind of a session's device (`DeviceKind.name`); null for other links. */
  readonly datapath: string | null;
  /** The link's ifalias (link-label.ts). */
  readonly label: string;
  readonly mtu: number;
  /** Null: any, or none. */
  readonly mac: string | null;
  /** False: its frames are IP datagrams, and it has no MAC address. */
  readonly hasMac?: boolean;
  readonly up: boolean;
  /** The ID of its bridge; null: not a port. */
  readonly bridge: string | null;
  /** Such as "192.0.2.1/24". Addresses that a pod adds do not count. */
  readonly addresses: readonly string[];
  /** Addresses with a lifetime, which the kernel added by router advertisements and adds again by itself. */
  readonly transient?: readonly string[];
  readonly routes: readonly LinkRoute[];
  /**
   * True if it has no automatic IPv6 link-local address, so that it sends nothing by itself when it goes up. Absent:
   * true on the node, false in a pod.
   */
  readonly isSilent?: boolean;
  /** Its index in its namespace, if it exists. */
  readonly index?: number;
  /** A pod moved it to an unknown namespace; it exists as long as its session has it. */
  readonly isElsewhere?: boolean;
}

/** A route via a link. Absent fields have the kernel's default. */
export interface LinkRoute {
  readonly destination: string;
  readonly gateway: string | null;
  readonly priority?: number;
  /** Absent: the main table. */
  readonly table?: number;
  readonly scope?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** Bytes. */
  readonly advmss?: number;
  /** The preferred source address. */
  readonly source?: string;
  /** The gateway counts as on-link, whatever the link's addresses. */
  readonly isOnLink?: true;
  /** The kernel added it by itself, for an address or a router advertisement, and adds it again. */
  readonly isKernels?: true;
  /** The pod added it; a failure to add it again is not an error. */
  readonly isPods?: true;
}

/** True if the route `known` is the desired route. */
export function isSameRoute(known: LinkRoute, wanted: LinkRoute): boolean {
  if (known.destination !== wanted.destination || known.gateway !== wanted.gateway) return false;
  if (known.table !== wanted.table) return false;
  return (["priority", "mtu", "advmss"] as const).every(
    (field) => wanted[field] === undefined || wanted[field] === known[field],
  );
}

/** A veth pair, by the IDs of its links. */
export interface PortPair {
  readonly port: string;
  readonly pod: string;
}

export interface Desired {
  readonly tunnels: readonly Tunnel[];
  readonly sessions: readonly DesiredSession[];
  readonly links: readonly Link[];
  readonly pairs: readonly PortPair[];
}

export interface DesiredSession {
  readonly session: Session;
  /** The datapath of its tunnel. */
  readonly datapath: string;
  /** The desired forwarding, if it differs from `session`; null: none. */
  readonly forwarding?: Session | null;
  /** The ID of its device among the links; null: no device. */
  readonly link: string | null;
}

export interface Observed {
  readonly tunnels: readonly Tunnel[];
  readonly sessions: readonly ObservedSession[];
  readonly links: readonly Link[];
}

export interface ObservedSession {
  readonly session: Session;
  readonly datapath: string;
  /** The forwarding, if it differs from `session`; null: none. */
  readonly forwarding?: Session | null;
  /** True if the datapath has opened its device. */
  readonly deviceOpen: boolean;
  /** True if frames with its session ID reach it. */
  readonly receiving: boolean;
}

/** Properties of a link that can change in place. */
export type LinkChange = Partial<
  Pick<Link, "label" | "name" | "mtu" | "mac" | "up" | "bridge" | "isSilent">
>;

/** A change of a datapath. */
export type DatapathAction = ActionOf<Change>;

type ActionOf<C> = C extends { readonly op: infer Op }
  ? Omit<C, "op"> & { readonly do: Op; readonly datapath: string }
  : never;

export type LinkAction =
  | { readonly do: "createBridge"; readonly link: Link }
  | { readonly do: "createPair"; readonly port: Link; readonly pod: Link }
  | { readonly do: "deleteLink"; readonly link: string; readonly at: Place }
  | { readonly do: "moveLink"; readonly link: string; readonly at: Place; readonly to: Place }
  | {
      readonly do: "changeLink";
      readonly link: string;
      readonly at: Place;
      readonly change: LinkChange;
    }
  | {
      readonly do: "addAddress";
      readonly link: string;
      readonly at: Place;
      readonly address: string;
    }
  | {
      readonly do: "addRoute";
      readonly link: string;
      readonly at: Place;
      readonly route: LinkRoute;
    };

export type Action = DatapathAction | LinkAction;

/** True for actions that a datapath carries out; the others change links. */
export function isDatapathAction(action: Action): action is DatapathAction {
  return "datapath" in action;
}

/** Returns the actions in their order. @param traitsOf traits of all datapaths in the desired and observed state */
export function plan(desired: Desired, observed: Observed, traitsOf: TraitsOf): Action[] {
  const planner = new Planner(desired, observed, traitsOf);
  planner.retire();
  planner.removeLinks();
  planner.freeNames();
  planner.programTunnelsAndSessions();
  planner.placeLinks();
  planner.createLinks();
  planner.adjustLinks();
  return planner.actions;
}

const placeOf = ({ netns, name }: Place): Place => ({ netns, name });
const placeKey = ({ netns, name }: Place): string => `${netns ?? ""}\n${name}`;

/** True if both links carry Ethernet frames, or both IP datagrams: a device cannot change its kind. */
export function carriesSame(one: Link, other: Link): boolean {
  return (one.hasMac ?? true) === (other.hasMac ?? true);
}

const hasSameType = (known: Session, wanted: Session): boolean =>
  known.pseudowireType === wanted.pseudowireType;

class Planner {
  readonly actions: Action[] = [];
  readonly #desired: Desired;
  readonly #observed: Observed;
  readonly #wanted: Map<string, Link>;
  readonly #traitsOf: TraitsOf;
  readonly #wantedTunnels: ReadonlyMap<string, Tunnel>;
  /** The links after the actions so far. */
  readonly #links: Map<string, Link>;
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #sessions = new Map<string, ObservedSession>();
  /** Tunnels to delete after their sessions have moved. */
  readonly #left: Tunnel[] = [];

  constructor(desired: Desired, observed: Observed, traitsOf: TraitsOf) {
    this.#desired = desired;
    this.#observed = observed;
    this.#traitsOf = traitsOf;
    this.#wanted = new Map(desired.links.map((link) => [link.id, link]));
    this.#links = new Map(observed.links.map((link) => [link.id, link]));
    const used = new Set(desired.sessions.map(({ session }) => session.tunnel));
    const wanted = desired.tunnels.filter(
      ({ name, datapath }) => used.has(name) || !traitsOf(datapath).tunnelsNeedSessions,
    );
    this.#wantedTunnels = new Map(wanted.map((tunnel) => [tunnel.name, tunnel]));
  }

  /** Deletes undesired objects, and objects that must free a port or ID for others. */
  retire(): void {
    const going = new Set(this.#observed.tunnels.filter((tunnel) => this.#mustGo(tunnel)));
    for (const tunnel of this.#observed.tunnels) {
      if (!going.has(tunnel)) this.#tunnels.set(tunnel.name, tunnel);
    }
    const wanted = new Map(this.#desired.sessions.map((item) => [item.session.key, item]));
    const leaving = new Set<string>();
    const gone: DatapathAction[] = [];
    for (const item of this.#observed.sessions) {
      const { datapath, session } = item;
      const kept = this.#keptOf(item, wanted.get(session.key));
      if (kept === null) {
        gone.push(...this.#deleteWithDevice(item, wanted.get(session.key)?.session));
        continue;
      }
      this.#sessions.set(session.key, kept);
      leaving.add(`${datapath} ${session.tunnel}`);
      if (kept === item) continue;
      this.#links.delete(linkId.pseudowire(session.key));
      gone.push({ do: "deleteDevice", datapath, key: session.key });
    }
    for (const tunnel of going) {
      const { datapath, name } = tunnel;
      // A deletion now would also delete a session that is about to move.
      if (leaving.has(`${datapath} ${name}`)) this.#left.push(tunnel);
      else gone.push({ do: "deleteTunnel", datapath, name });
    }
    // Grouped, because a datapath can delete a tunnel with all its sessions faster than one by one.
    for (const actions of Map.groupBy(gone, ({ datapath }) => datapath).values()) {
      this.actions.push(...actions);
    }
  }

  /** Deletes a session, with a device that is deleted with it or that only the session can still reach. */
  #deleteWithDevice(item: ObservedSession, wanted?: Session): DatapathAction[] {
    const { datapath, session } = item;
    const { key } = session;
    const { device: kind, makesDevices } = this.#traitsOf(datapath);
    const deletion: DatapathAction = { do: "deleteSession", datapath, key };
    const device = this.#links.get(linkId.pseudowire(key));
    if (device?.datapath !== kind.name || forwardedSession(item) === null) return [deletion];
    // Another pseudowire type can have another kind of device.
    const isReplaced =
      device.isElsewhere || (wanted !== undefined && !hasSameType(session, wanted));
    if (!makesDevices && !isReplaced) return [deletion];
    this.#links.delete(device.id);
    return makesDevices ? [deletion] : [{ do: "deleteDevice", datapath, key }, deletion];
  }

  #mustGo(tunnel: Tunnel): boolean {
    const { name, datapath } = tunnel;
    const wanted = this.#wantedTunnels.get(name);
    if (wanted?.datapath !== datapath) return true;
    return this.#traitsOf(datapath).tunnelDifference(tunnel, wanted) === "replace";
  }

  /** Returns the part of the session that is kept: all, all except its device, or null. */
  #keptOf(item: ObservedSession, wanted: DesiredSession | undefined): ObservedSession | null {
    const { datapath, session } = item;
    if (wanted?.datapath !== datapath || !hasSameType(session, wanted.session)) return null;
    const traits = this.#traitsOf(datapath);
    const hasTunnel = this.#tunnels.get(session.tunnel)?.datapath === datapath;
    if (traits.sessionsNeedTunnel && !hasTunnel) return null;
    if (!traits.makesDevices || this.#keepsForwarding(item, wanted)) return item;
    return traits.sessionsOutliveDevices ? { ...item, forwarding: null } : null;
  }

  #keepsForwarding(item: ObservedSession, wanted: DesiredSession): boolean {
    const { device: kind, sessionDifference } = this.#traitsOf(item.datapath);
    const [had, wants] = [forwardedSession(item), forwardedSession(wanted)];
    if (had === null) return true;
    if (wants === null) return false;
    const device = wanted.link === null ? undefined : this.#links.get(wanted.link);
    const isInReach = !device?.isElsewhere || this.#wanted.get(device.id)?.isElsewhere === true;
    const hasDevice = wanted.link === null || (device?.datapath === kind.name && isInReach);
    return hasDevice && sessionDifference(had, wants) !== "replace";
  }

  /** Deletes undesired links, and ends of pairs whose other end is missing or misplaced. */
  removeLinks(): void {
    for (const { port, pod } of this.#desired.pairs) {
      const [portLink, podLink] = [this.#links.get(port), this.#links.get(pod)];
      const inPlace = podLink?.netns === this.#wanted.get(pod)?.netns;
      if (portLink !== undefined && podLink !== undefined && inPlace) continue;
      for (const link of [portLink, podLink]) if (link !== undefined) this.#deleteLink(link);
    }
    // The datapath creates new devices for these.
    const replaced = new Set(this.#newDevices().map(({ link }) => link));
    for (const link of [...this.#links.values()]) {
      const wanted = this.#wanted.get(link.id);
      const isOutOfReach = link.isElsewhere === true && wanted?.isElsewhere !== true;
      const isWrong =
        wanted === undefined ||
        wanted.datapath !== link.datapath ||
        replaced.has(link.id) ||
        // The kind of a device elsewhere cannot be observed. It is deleted with its session.
        (!link.isElsewhere && !carriesSame(wanted, link));
      if (isWrong || isOutOfReach) this.#deleteLink(link);
    }
  }

  programTunnelsAndSessions(): void {
    for (const tunnel of this.#wantedTunnels.values()) {
      const known = this.#tunnels.get(tunnel.name);
      const { datapath } = tunnel;
      const { tunnelDifference } = this.#traitsOf(datapath);
      if (known !== undefined && tunnelDifference(known, tunnel) === "none") continue;
      this.actions.push({ do: "putTunnel", datapath, tunnel });
    }
    const made: { link: Link; wanted: Link }[] = [];
    for (const item of this.#desired.sessions) {
      const wanted = item.link === null ? undefined : this.#wanted.get(item.link);
      const at = this.#traitsOf(item.datapath).makesDevices
        ? this.#programMaking(item)
        : this.#programOpening(item, wanted);
      if (at !== null && wanted !== undefined) made.push({ link: created(wanted, at), wanted });
    }
    for (const { link, wanted } of made) this.#label(link, wanted);
    for (const { datapath, name } of this.#left) {
      this.actions.push({ do: "deleteTunnel", datapath, name });
    }
  }

  /** Programs a session of a datapath that creates devices. Returns the place of a new device. */
  #programMaking(item: DesiredSession): Place | null {
    const { session, datapath, forwarding } = item;
    const known = this.#sessions.get(session.key);
    const place = this.#newDevicePlace(item);
    if (place === null && known !== undefined && this.#isMade(item, known)) return null;
    const device = place ?? (forwardedSession(item) === null ? null : "keep");
    const forwarded = forwarding === undefined ? {} : { forwarding };
    this.actions.push({ do: "putSession", datapath, session, ...forwarded, device });
    return place;
  }

  #isMade(item: DesiredSession, known: ObservedSession): boolean {
    const [had, wants] = [forwardedSession(known), forwardedSession(item)];
    const { sessionDifference } = this.#traitsOf(item.datapath);
    const isForwarded = had !== null && wants !== null && sessionDifference(had, wants) === "none";
    if (!isForwarded && had !== wants) return false;
    const isSignalled = known.session.control !== undefined || item.session.control !== undefined;
    return !isSignalled || sameData(known.session, item.session);
  }

  /** Returns the place where the datapath creates a device for the session; null: it creates none. */
  #newDevicePlace(item: DesiredSession): Place | null {
    const { makesDevices, deviceName } = this.#traitsOf(item.datapath);
    const wants = forwardedSession(item);
    if (!makesDevices || wants === null) return null;
    const known = this.#sessions.get(item.session.key);
    if (known !== undefined && forwardedSession(known) !== null) return null;
    return { netns: null, name: deviceName(wants) };
  }

  #newDevices(): { readonly link: string | null; readonly place: Place }[] {
    return this.#desired.sessions.flatMap((item) => {
      const place = this.#newDevicePlace(item);
      return place === null ? [] : [{ link: item.link, place }];
    });
  }

  /** Programs a session of a datapath that opens devices in place. Returns the place of a new device. */
  #programOpening(
    { session, datapath, link }: DesiredSession,
    wanted: Link | undefined,
  ): Place | null {
    const known = this.#sessions.get(session.key);
    const present = link === null ? undefined : this.#links.get(link);
    const isOpen = known?.deviceOpen === true;
    const hasRightDevice = link === null ? !isOpen : isOpen && present !== undefined;
    const isRight = hasRightDevice && known?.receiving === true && sameData(known.session, session);
    if (isRight) return null;
    const stands = present ?? wanted;
    const place = stands === undefined ? null : placeOf(stands);
    const device = hasRightDevice && link !== null ? "keep" : place;
    this.actions.push({ do: "putSession", datapath, session, device });
    return present === undefined ? place : null;
  }

  /** Labels a new link before any other change, so that every later reconcile recognizes it. */
  #label(link: Link, { label, mtu, mac }: Link): void {
    this.#change(link, { label, mtu, ...(mac === null ? {} : { mac }) });
    this.#links.set(link.id, { ...link, label, mtu, mac: mac ?? link.mac });
  }

  /** Renames links that have the desired name of another link. */
  freeNames(): void {
    const claims = [...this.#wanted.values(), ...this.#newDevices().map(({ place }) => place)];
    const claimed = new Set(claims.map(placeKey));
    let count = 0;
    for (const link of [...this.#links.values()]) {
      const wanted = this.#wanted.get(link.id);
      if (wanted === undefined || placeKey(wanted) === placeKey(link)) continue;
      if (!claimed.has(placeKey(link))) continue;
      this.#relocate(link, { netns: link.netns, name: `l2tpmove${count++}` });
    }
  }

  /** Moves links to their places. Links that return from pods to the node come first. */
  placeLinks(): void {
    const returning = (link: Link) => (this.#wanted.get(link.id)?.netns === null ? 0 : 1);
    const links = [...this.#links.values()].sort((a, b) => returning(a) - returning(b));
    for (const link of links) {
      const wanted = this.#wanted.get(link.id);
      if (wanted === undefined || placeKey(wanted) === placeKey(link)) continue;
      this.#relocate(link, placeOf(wanted));
    }
  }

  createLinks(): void {
    for (const link of this.#desired.links) {
      if (link.kind !== "bridge" || this.#links.has(link.id)) continue;
      this.actions.push({ do: "createBridge", link });
      this.#label(created(link, link), link);
    }
    for (const pair of this.#desired.pairs) {
      const port = this.#wanted.get(pair.port);
      const pod = this.#wanted.get(pair.pod);
      if (port === undefined || pod === undefined || this.#links.has(port.id)) continue;
      this.actions.push({ do: "createPair", port, pod });
      this.#label(created(port, port), port);
      this.#label(created(pod, pod), pod);
    }
  }

  adjustLinks(): void {
    for (const wanted of this.#desired.links) {
      const link = this.#links.get(wanted.id);
      if (link !== undefined) this.#adjustLink(link, wanted);
    }
  }

  #adjustLink(link: Link, wanted: Link): void {
    const at = placeOf(link);
    const change: LinkChange = {
      // In a pod, the pod can write the label, and it is not read.
      ...(link.netns !== null || link.label === wanted.label ? {} : { label: wanted.label }),
      ...(link.mtu === wanted.mtu ? {} : { mtu: wanted.mtu }),
      ...(wanted.mac === null || link.mac === wanted.mac ? {} : { mac: wanted.mac }),
      ...(link.bridge === wanted.bridge ? {} : { bridge: wanted.bridge }),
      ...(link.up === wanted.up ? {} : { up: wanted.up, ...silence(wanted) }),
    };
    if (Object.keys(change).length > 0) {
      this.actions.push({ do: "changeLink", link: link.id, at, change });
    }
    for (const address of wanted.addresses) {
      if (link.addresses.includes(address)) continue;
      this.actions.push({ do: "addAddress", link: link.id, at, address });
    }
    for (const route of wanted.routes) {
      if (link.routes.some((known) => isSameRoute(known, route))) continue;
      this.actions.push({ do: "addRoute", link: link.id, at, route });
    }
  }

  #relocate(link: Link, to: Place): void {
    const at = placeOf(link);
    const moves = link.netns !== to.netns;
    // A link that is up cannot be renamed. It loses its addresses when it is set down.
    if (link.up) this.#change(link, { up: false });
    if (moves) this.actions.push({ do: "moveLink", link: link.id, at, to });
    else this.#change(link, { name: to.name });
    this.#links.set(link.id, {
      ...link,
      ...to,
      up: false,
      bridge: moves ? null : link.bridge,
      addresses: moves ? [] : link.addresses,
      routes: [],
    });
  }

  #change(link: Link, change: LinkChange): void {
    const at = placeOf(link);
    this.actions.push({ do: "changeLink", link: link.id, at, change });
  }

  #deleteLink(link: Link): void {
    this.#links.delete(link.id);
    if (!link.isElsewhere) {
      this.actions.push({ do: "deleteLink", link: link.id, at: placeOf(link) });
    } else if (link.kind === "pseudowire") {
      const key = parseLinkLabel(link.id)?.key ?? "";
      const datapath = this.#sessions.get(key)?.datapath;
      if (datapath !== undefined) this.actions.push({ do: "deleteDevice", datapath, key });
    }
    // The other end of a pair is deleted with the port on the node.
  }
}

function silence({ up, isSilent }: Link): Pick<LinkChange, "isSilent"> {
  return up && isSilent !== undefined ? { isSilent } : {};
}

/** Returns a new link, of which every property must still be set. */
function created(link: Link, at: Place): Link {
  return {
    ...link,
    ...placeOf(at),
    label: "",
    mtu: -1,
    mac: "",
    up: false,
    bridge: null,
    addresses: [],
    routes: [],
  };
}
