/**
 * From what should be and what is, the actions that lead from one to the other: pure, over plain
 * data. Applying them and planning again yields nothing (plan.test.ts).
 *
 * The userspace datapath makes a device where it is to stand: moving one between namespaces takes the
 * kernel as long as deleting it. The kernel's own L2TP makes a device with its session, on the node, and
 * takes it along when the session goes.
 */

import { sameData } from "../l2tp/same-data.ts";
import { deviceName } from "./device-name.ts";
import { kernelSessionDifference, tunnelDifference } from "./difference.ts";
import { halfName } from "./halves.ts";
import { type LinkKind, linkId, parseLinkLabel } from "./link-label.ts";
import type { Datapath, Session, Tunnel } from "./model.ts";

/** Where a link stands: a network namespace by path (null: the node's), and its name in there. */
export interface Place {
  readonly netns: string | null;
  readonly name: string;
}

/** One link of ours. */
export interface Link extends Place {
  readonly id: string;
  readonly kind: LinkKind;
  /** Whose device it is; null where it is no session's. */
  readonly datapath: Datapath | null;
  /** Written on the link itself (link-label.ts). */
  readonly label: string;
  readonly mtu: number;
  /** Null where any will do. */
  readonly mac: string | null;
  readonly up: boolean;
  /** The id of the bridge that it is a port of. */
  readonly bridge: string | null;
  /** "192.0.2.1/24"; others that a pod adds are its own business. */
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
  /** The kernel gives it no IPv6 link-local address, and so says nothing of its own when it goes up. */
  readonly isSilent?: boolean;
  /** Its index in its namespace, if it exists. */
  readonly index?: number;
  /** A pod moved it to a namespace that nobody can name; it exists as long as its session has it. */
  readonly isElsewhere?: boolean;
}

/** A route by a link. What is left out is the kernel's default. */
export interface LinkRoute {
  readonly destination: string;
  readonly gateway: string | null;
  readonly priority?: number;
  /** Left out: the main table. */
  readonly table?: number;
  readonly scope?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** Bytes. */
  readonly advmss?: number;
}

/** True if the route `known` is the wanted one. */
export function isSameRoute(known: LinkRoute, wanted: LinkRoute): boolean {
  if (known.destination !== wanted.destination || known.gateway !== wanted.gateway) return false;
  if (known.table !== wanted.table) return false;
  return (["priority", "mtu", "advmss"] as const).every(
    (field) => wanted[field] === undefined || wanted[field] === known[field],
  );
}

/** A pair of veth ends, by the ids of its links. */
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
  /** That of its tunnel. */
  readonly datapath: Datapath;
  /** The id of its device among the links; null: nobody has attached, so in userspace it has none. */
  readonly link: string | null;
}

export interface Observed {
  readonly tunnels: readonly Tunnel[];
  readonly sessions: readonly ObservedSession[];
  readonly links: readonly Link[];
}

export interface ObservedSession {
  readonly session: Session;
  readonly datapath: Datapath;
  /** The data plane has its device in hand. */
  readonly deviceOpen: boolean;
  /** Frames with its session id reach it. */
  readonly receiving: boolean;
}

/** What may change of a link where it stands. */
export type LinkChange = Partial<
  Pick<Link, "label" | "name" | "mtu" | "mac" | "up" | "bridge" | "isSilent">
>;

export type Action =
  | { readonly do: "putTunnel"; readonly tunnel: Tunnel }
  | { readonly do: "deleteTunnel"; readonly datapath: Datapath; readonly name: string }
  | {
      readonly do: "putSession";
      readonly datapath: Datapath;
      readonly session: Session;
      /** Where the data plane opens or makes the device; "keep": it has it; null: it closes it. */
      readonly device: Place | "keep" | null;
    }
  /** In userspace without its device, which is a link like any other; in the kernel with it. */
  | { readonly do: "deleteSession"; readonly datapath: Datapath; readonly key: string }
  /** Deletes the device of a session in userspace, in whatever namespace it is. */
  | { readonly do: "deleteDevice"; readonly datapath: Datapath; readonly key: string }
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

export function plan(desired: Desired, observed: Observed): Action[] {
  const planner = new Planner(desired, observed);
  planner.retire();
  planner.removeLinks();
  planner.vacatePlaces();
  planner.programTunnelsAndSessions();
  planner.placeLinks();
  planner.createLinks();
  planner.adjustLinks();
  return planner.actions;
}

const placeOf = ({ netns, name }: Place): Place => ({ netns, name });
const placeKey = ({ netns, name }: Place): string => `${netns ?? ""}\n${name}`;

/** Where the kernel makes the device of a session. */
function birthplace(session: Session): Place {
  return { netns: null, name: deviceName(session, "Kernel") };
}

const hasSameType = (known: Session, wanted: Session): boolean =>
  known.pseudowireType === wanted.pseudowireType;

class Planner {
  readonly actions: Action[] = [];
  readonly #desired: Desired;
  readonly #observed: Observed;
  readonly #wanted: Map<string, Link>;
  readonly #wantedTunnels: ReadonlyMap<string, Tunnel>;
  /** Of the kernel's: they come and go with the sockets of their control halves. */
  readonly #heldTunnels: ReadonlyMap<string, Tunnel>;
  /** Names of control halves that are there. */
  readonly #halves: ReadonlySet<string>;
  /** What stands after the actions so far. */
  readonly #links: Map<string, Link>;
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #sessions = new Map<string, ObservedSession>();
  /** Tunnels in userspace that sessions leave, and that go when they have. */
  readonly #left: Tunnel[] = [];

  constructor(desired: Desired, observed: Observed) {
    this.#desired = desired;
    this.#observed = observed;
    this.#wanted = new Map(desired.links.map((link) => [link.id, link]));
    this.#links = new Map(observed.links.map((link) => [link.id, link]));
    // Nothing on a tunnel of the kernel's says whose it is, but its sessions do: without one there is none.
    const used = new Set(desired.sessions.map(({ session }) => session.tunnel));
    const wanted = desired.tunnels.filter(
      (item) => item.datapath !== "Kernel" || used.has(item.name),
    );
    this.#wantedTunnels = new Map(wanted.map((tunnel) => [tunnel.name, tunnel]));
    const names = new Set(desired.tunnels.map(({ name }) => name));
    const held = desired.tunnels.filter(({ name }) => names.has(halfName(name)));
    this.#heldTunnels = new Map(held.map((tunnel) => [tunnel.name, tunnel]));
    this.#halves = new Set(
      observed.tunnels.filter(({ handsOver }) => handsOver).map(({ name }) => name),
    );
  }

  /** What nobody wants, and what must go before it can come anew: a port or an id is free only then. */
  retire(): void {
    const going = new Set(this.#observed.tunnels.filter((tunnel) => this.#mustGo(tunnel)));
    const anew = new Set<string>();
    for (const tunnel of this.#observed.tunnels) {
      if (!going.has(tunnel)) this.#tunnels.set(tunnel.name, tunnel);
      else if (tunnel.handsOver) anew.add(tunnel.name);
    }
    const wanted = new Map(this.#desired.sessions.map((item) => [item.session.key, item]));
    const leaving = new Set<string>();
    const gone: Action[] = [];
    for (const item of this.#observed.sessions) {
      const { datapath, session } = item;
      if (!anew.has(session.tunnel) && this.#keepsSession(item, wanted.get(session.key))) {
        this.#sessions.set(session.key, item);
        leaving.add(`${datapath} ${session.tunnel}`);
        continue;
      }
      gone.push(...this.#deleteWithDevice(item, wanted.get(session.key)?.session));
    }
    for (const tunnel of going) {
      const { datapath, name } = tunnel;
      // Deleting it now would take along a session that is about to leave it.
      if (leaving.has(`${datapath} ${name}`)) this.#left.push(tunnel);
      else gone.push({ do: "deleteTunnel", datapath, name });
    }
    // The kernel deletes a tunnel with all of its sessions faster than each of them: together.
    const isKernels = (action: Action) => "datapath" in action && action.datapath === "Kernel";
    this.actions.push(...gone.filter(isKernels), ...gone.filter((action) => !isKernels(action)));
  }

  /** A device that goes with its session in the kernel, or that only its session can still reach. */
  #deleteWithDevice({ datapath, session }: ObservedSession, wanted?: Session): Action[] {
    const { key } = session;
    const deletion: Action = { do: "deleteSession", datapath, key };
    const device = this.#links.get(linkId.pseudowire(key));
    if (device?.datapath !== datapath) return [deletion];
    // Another pseudowire type may have another kind of device.
    const isReplaced =
      device.isElsewhere || (wanted !== undefined && !hasSameType(session, wanted));
    if (datapath === "Userspace" && !isReplaced) return [deletion];
    this.#links.delete(device.id);
    return datapath === "Kernel" ? [deletion] : [{ do: "deleteDevice", datapath, key }, deletion];
  }

  #mustGo(tunnel: Tunnel): boolean {
    const { name } = tunnel;
    const held = this.#heldTunnels.get(name);
    const wanted = held ?? this.#wantedTunnels.get(name);
    if (wanted === undefined || tunnelDifference(tunnel, wanted) === "anew") return true;
    // Nothing on it tells whether somebody holds its socket, but that there is somebody.
    const isHeld = this.#halves.has(halfName(name));
    return tunnel.datapath === "Kernel" && isHeld !== (held !== undefined);
  }

  #keepsSession(
    { datapath, session }: ObservedSession,
    wanted: DesiredSession | undefined,
  ): boolean {
    if (wanted?.datapath !== datapath) return false;
    if (datapath === "Userspace") return hasSameType(session, wanted.session);
    const hasTunnel = this.#tunnels.get(session.tunnel)?.datapath === "Kernel";
    const device = wanted.link === null ? undefined : this.#links.get(wanted.link);
    const isInReach = !device?.isElsewhere || this.#wanted.get(device.id)?.isElsewhere === true;
    const hasDevice = wanted.link === null || (device?.datapath === "Kernel" && isInReach);
    if (!hasTunnel || !hasDevice) return false;
    return kernelSessionDifference(session, wanted.session) !== "anew";
  }

  /** Links that nobody wants, and halves of pairs whose other half is missing or out of place. */
  removeLinks(): void {
    for (const { port, pod } of this.#desired.pairs) {
      const [portLink, podLink] = [this.#links.get(port), this.#links.get(pod)];
      const inPlace = podLink?.netns === this.#wanted.get(pod)?.netns;
      if (portLink !== undefined && podLink !== undefined && inPlace) continue;
      for (const link of [portLink, podLink]) if (link !== undefined) this.#deleteLink(link);
    }
    for (const link of [...this.#links.values()]) {
      const wanted = this.#wanted.get(link.id);
      const isOutOfReach = link.isElsewhere === true && wanted?.isElsewhere !== true;
      if (wanted?.datapath !== link.datapath || isOutOfReach) this.#deleteLink(link);
    }
  }

  programTunnelsAndSessions(): void {
    for (const tunnel of this.#wantedTunnels.values()) {
      const known = this.#tunnels.get(tunnel.name);
      if (known !== undefined && tunnelDifference(known, tunnel) === "none") continue;
      this.actions.push({ do: "putTunnel", tunnel });
    }
    const born: { link: Link; wanted: Link }[] = [];
    for (const item of this.#desired.sessions) {
      const wanted = item.link === null ? undefined : this.#wanted.get(item.link);
      const at =
        item.datapath === "Kernel"
          ? this.#programInKernel(item)
          : this.#programInUserspace(item, wanted);
      if (at !== null && wanted !== undefined) born.push({ link: newborn(wanted, at), wanted });
    }
    for (const { link, wanted } of born) this.#label(link, wanted);
    for (const { datapath, name } of this.#left) {
      this.actions.push({ do: "deleteTunnel", datapath, name });
    }
  }

  /** Returns where its device is born, where that is a new one. */
  #programInKernel({ session, datapath }: DesiredSession): Place | null {
    const known = this.#sessions.get(session.key);
    if (known !== undefined && kernelSessionDifference(known.session, session) === "none") {
      return null;
    }
    const place = birthplace(session);
    const device = known === undefined ? place : "keep";
    this.actions.push({ do: "putSession", datapath, session, device });
    return known === undefined ? place : null;
  }

  #programInUserspace(
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

  /** The first thing that happens to a new link: from now on every pass knows it. */
  #label(link: Link, { label, mtu, mac }: Link): void {
    this.#change(link, { label, mtu, ...(mac === null ? {} : { mac }) });
    this.#links.set(link.id, { ...link, label, mtu, mac: mac ?? link.mac });
  }

  /** Gives way where a link stands under a name that another one is to have. */
  vacatePlaces(): void {
    const births = this.#desired.sessions.filter(
      ({ session, datapath }) => datapath === "Kernel" && !this.#sessions.has(session.key),
    );
    const claims = [...this.#wanted.values(), ...births.map(({ session }) => birthplace(session))];
    const claimed = new Set(claims.map(placeKey));
    let count = 0;
    for (const link of [...this.#links.values()]) {
      const wanted = this.#wanted.get(link.id);
      if (wanted === undefined || placeKey(wanted) === placeKey(link)) continue;
      if (!claimed.has(placeKey(link))) continue;
      this.#relocate(link, { netns: link.netns, name: `l2tpmove${count++}` });
    }
  }

  /** Pods give back before pods take: links that return to the node come first. */
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
      this.#label(newborn(link, link), link);
    }
    for (const pair of this.#desired.pairs) {
      const port = this.#wanted.get(pair.port);
      const pod = this.#wanted.get(pair.pod);
      if (port === undefined || pod === undefined || this.#links.has(port.id)) continue;
      this.actions.push({ do: "createPair", port, pod });
      this.#label(newborn(port, port), port);
      this.#label(newborn(pod, pod), pod);
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
      // In a pod the label is the pod's to write, and nobody reads it.
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
    // A link keeps its name while it is up, and loses its addresses when it goes down.
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
    } else if (link.datapath === "Userspace") {
      const key = parseLinkLabel(link.id)?.key ?? "";
      this.actions.push({ do: "deleteDevice", datapath: link.datapath, key });
    }
    // The other end of a pair goes with the port on the node.
  }
}

function silence({ up, isSilent }: Link): Pick<LinkChange, "isSilent"> {
  return up && isSilent ? { isSilent } : {};
}

/** A link that has just been made, and of which everything is still to be set. */
function newborn(link: Link, at: Place): Link {
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
