/**
 * From what should be and what is, the actions that lead from one to the other: pure, over plain
 * data. Applying them and planning again yields nothing (plan.test.ts).
 *
 * A device is made where it is to stand: moving one between namespaces takes the kernel as long as
 * deleting it.
 */
import type { Session, Tunnel } from "./model.ts";

export type LinkKind =
  /** A session's device. */
  | "pseudowire"
  /** A node bridge that joins a pseudowire with pods. */
  | "bridge"
  /** The node's end of a veth pair, in the bridge. */
  | "port"
  /** The pod's end of it. */
  | "pod";

/** Where a link stands: a network namespace by path (null: the node's), and its name in there. */
export interface Place {
  readonly netns: string | null;
  readonly name: string;
}

/** One link of ours. */
export interface Link extends Place {
  /** Written on the link itself (ifalias), so that it is known again wherever it is. */
  readonly id: string;
  readonly kind: LinkKind;
  readonly mtu: number;
  /** Null where any will do. */
  readonly mac: string | null;
  readonly up: boolean;
  /** The id of the bridge that it is a port of. */
  readonly bridge: string | null;
  /** "192.0.2.1/24"; others that a pod adds are its own business. */
  readonly addresses: readonly string[];
  readonly routes: readonly LinkRoute[];
}

export interface LinkRoute {
  readonly destination: string;
  readonly gateway: string | null;
}

export interface ObservedLink extends Link {
  /** False: its id is not written on it. */
  readonly labelled: boolean;
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
  /** The id of its device among the links; null: nobody has attached, so it has none. */
  readonly link: string | null;
}

export interface Observed {
  readonly tunnels: readonly Tunnel[];
  readonly sessions: readonly ObservedSession[];
  readonly links: readonly ObservedLink[];
}

export interface ObservedSession {
  readonly session: Session;
  /** The data plane has its device in hand. */
  readonly deviceOpen: boolean;
  /** Frames with its session id reach it. */
  readonly receiving: boolean;
}

/** What may change of a link where it stands. */
export type LinkChange = Partial<Pick<Link, "name" | "mtu" | "mac" | "up" | "bridge">> & {
  /** Write the id on it. */
  readonly label?: true;
};

export type Action =
  | { readonly do: "putTunnel"; readonly tunnel: Tunnel }
  | { readonly do: "deleteTunnel"; readonly name: string }
  | {
      readonly do: "putSession";
      readonly session: Session;
      /** Where the data plane opens or makes the device; "keep": it has it; null: it closes it. */
      readonly device: Place | "keep" | null;
    }
  /** Without its device, which is a link like any other. */
  | { readonly do: "deleteSession"; readonly key: string }
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

class Planner {
  readonly actions: Action[] = [];
  readonly #desired: Desired;
  readonly #observed: Observed;
  readonly #wanted: Map<string, Link>;
  /** The links as they stand after the actions so far. */
  readonly #links: Map<string, ObservedLink>;
  readonly #observedSessions: Map<string, ObservedSession>;

  constructor(desired: Desired, observed: Observed) {
    this.#desired = desired;
    this.#observed = observed;
    this.#wanted = new Map(desired.links.map((link) => [link.id, link]));
    this.#links = new Map(observed.links.map((link) => [link.id, link]));
    this.#observedSessions = new Map(observed.sessions.map((item) => [item.session.key, item]));
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
      if (!this.#wanted.has(link.id)) this.#deleteLink(link);
    }
  }

  programTunnelsAndSessions(): void {
    const wantedSessions = new Set(this.#desired.sessions.map(({ session }) => session.key));
    for (const { session } of this.#observed.sessions) {
      if (!wantedSessions.has(session.key)) {
        this.actions.push({ do: "deleteSession", key: session.key });
      }
    }
    const before = new Map(this.#observed.tunnels.map((tunnel) => [tunnel.name, tunnel]));
    for (const tunnel of this.#desired.tunnels) {
      const known = before.get(tunnel.name);
      if (known !== undefined && sameData(known, tunnel)) continue;
      this.actions.push({ do: "putTunnel", tunnel });
    }
    const born: ObservedLink[] = [];
    for (const session of this.#desired.sessions) {
      const link = this.#programSession(session);
      if (link !== null) born.push(link);
    }
    for (const link of born) this.#label(link);
    const wantedTunnels = new Set(this.#desired.tunnels.map(({ name }) => name));
    // Last, since deleting a tunnel would take along a session that has left it by now.
    for (const { name } of this.#observed.tunnels) {
      if (!wantedTunnels.has(name)) this.actions.push({ do: "deleteTunnel", name });
    }
  }

  /** Returns the device where it is a new one. */
  #programSession({ session, link }: DesiredSession): ObservedLink | null {
    const known = this.#observedSessions.get(session.key);
    const present = link === null ? undefined : this.#links.get(link);
    const wanted = link === null ? undefined : this.#wanted.get(link);
    const isOpen = known?.deviceOpen === true;
    const hasRightDevice = link === null ? !isOpen : isOpen && present !== undefined;
    const isRight = hasRightDevice && known?.receiving === true && sameData(known.session, session);
    if (isRight) return null;
    const stands = present ?? wanted;
    const place = stands === undefined ? null : placeOf(stands);
    const device = hasRightDevice && link !== null ? "keep" : place;
    this.actions.push({ do: "putSession", session, device });
    return present === undefined && wanted !== undefined ? newborn(wanted) : null;
  }

  /** The first thing that happens to a new link: from now on every pass knows it. */
  #label(link: ObservedLink): void {
    this.#change(link, { label: true });
    this.#links.set(link.id, { ...link, labelled: true });
  }

  /** Gives way where a link stands under a name that another one is to have. */
  vacatePlaces(): void {
    const claimed = new Set([...this.#wanted.values()].map(placeKey));
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
      this.#label(newborn(link));
    }
    for (const pair of this.#desired.pairs) {
      const port = this.#wanted.get(pair.port);
      const pod = this.#wanted.get(pair.pod);
      if (port === undefined || pod === undefined || this.#links.has(port.id)) continue;
      this.actions.push({ do: "createPair", port, pod });
      this.#label(newborn(port));
      this.#label(newborn(pod));
    }
  }

  adjustLinks(): void {
    for (const wanted of this.#desired.links) {
      const link = this.#links.get(wanted.id);
      if (link !== undefined) this.#adjustLink(link, wanted);
    }
  }

  #adjustLink(link: ObservedLink, wanted: Link): void {
    const at = placeOf(link);
    const change: LinkChange = {
      ...(link.labelled ? {} : { label: true as const }),
      ...(link.mtu === wanted.mtu ? {} : { mtu: wanted.mtu }),
      ...(wanted.mac === null || link.mac === wanted.mac ? {} : { mac: wanted.mac }),
      ...(link.bridge === wanted.bridge ? {} : { bridge: wanted.bridge }),
      ...(link.up === wanted.up ? {} : { up: wanted.up }),
    };
    if (Object.keys(change).length > 0) {
      this.actions.push({ do: "changeLink", link: link.id, at, change });
    }
    for (const address of wanted.addresses) {
      if (link.addresses.includes(address)) continue;
      this.actions.push({ do: "addAddress", link: link.id, at, address });
    }
    for (const route of wanted.routes) {
      if (link.routes.some((known) => sameData(known, route))) continue;
      this.actions.push({ do: "addRoute", link: link.id, at, route });
    }
  }

  #relocate(link: ObservedLink, to: Place): void {
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

  #deleteLink(link: ObservedLink): void {
    const at = placeOf(link);
    this.actions.push({ do: "deleteLink", link: link.id, at });
    this.#links.delete(link.id);
  }
}

/** A link that has just been made: where it is to stand, and with everything else still to be set. */
function newborn(link: Link): ObservedLink {
  return {
    ...link,
    labelled: false,
    mtu: -1,
    mac: "",
    up: false,
    bridge: null,
    addresses: [],
    routes: [],
  };
}

/** The ids that links of each kind carry. */
export const linkId = {
  pseudowire: (sessionKey: string) => `l2tp:session:${sessionKey}`,
  bridge: (sessionKey: string) => `l2tp:bridge:${sessionKey}`,
  port: (attachment: string) => `l2tp:port:${attachment}`,
  pod: (attachment: string) => `l2tp:pod:${attachment}`,
} as const;

/** The kind and the key that an id was made of, or undefined where it is not one of ours. */
export function parseLinkId(id: string): { kind: LinkKind; key: string } | undefined {
  const match = /^l2tp:(session|bridge|port|pod):(.+)$/.exec(id);
  if (match === null) return undefined;
  const kind = match[1] === "session" ? "pseudowire" : (match[1] as LinkKind);
  return { kind, key: match[2] ?? "" };
}

/** Equality of plain data, whatever the order of its fields. */
export function sameData(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [keysA, keysB] = [Object.keys(a), Object.keys(b)];
  if (keysA.length !== keysB.length) return false;
  return keysA.every(
    (key) =>
      Object.hasOwn(b, key) &&
      sameData((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  );
}
