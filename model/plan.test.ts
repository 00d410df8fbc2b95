import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DATAPATHS, deviceKind, traitsOf } from "../datapath/registry/datapaths.ts";
import { sameData } from "../l2tp/same-data.ts";
import {
  ATTACHMENT_MODES,
  type Attachment,
  type AttachmentMode,
  attachmentMode,
  canAttach,
  type InterfaceState,
} from "./attachments/index.ts";
import { type DatapathTraits, forwardedSession, type LiveSession } from "./datapath.ts";
import { linkId, pseudowireLabel } from "./link-label.ts";
import type { Tunnel } from "./model.ts";
import {
  type Action,
  carriesSame,
  type Desired,
  type Link,
  type Observed,
  type ObservedSession,
  type Place,
  plan as planWith,
} from "./plan.ts";
import {
  DEFAULT_PSEUDOWIRE,
  PSEUDOWIRE_TYPES,
  type PseudowireType,
  pseudowireOf,
} from "./pseudowires/index.ts";
import { session, sessionControl, tunnel, tunnelControl } from "./testdata.ts";

const plan = (desired: Desired, observed: Observed) => planWith(desired, observed, traitsOf);

/** A simulated node, which rejects what the kernel rejects. */
class ModelNode {
  /** Tunnels by datapath and name: during a change of datapath, both can have a tunnel. */
  readonly tunnels = new Map<string, Tunnel>();
  readonly sessions = new Map<string, ObservedSession>();
  readonly links = new Map<string, Link>();
  /** Ends of veth pairs, in both directions. */
  readonly pairs = new Map<string, string>();

  observe(): Observed {
    return {
      tunnels: [...this.tunnels.values()],
      sessions: [...this.sessions.values()],
      links: [...this.links.values()],
    };
  }

  apply(action: Action): void {
    switch (action.do) {
      case "putTunnel":
        return this.#putTunnel(action.tunnel);
      case "deleteTunnel":
        for (const { session: s, datapath } of [...this.sessions.values()]) {
          if (s.tunnel !== action.name || datapath !== action.datapath) continue;
          this.apply({ do: "deleteSession", datapath, key: s.key });
        }
        this.tunnels.delete(`${action.datapath} ${action.name}`);
        return;
      case "putSession":
        return this.#putSession(action);
      case "deleteSession":
        return this.#deleteSession(action.datapath, action.key);
      case "deleteDevice":
        return this.#deleteDevice(action.datapath, action.key);
      case "createBridge":
        return this.#create(action.link);
      case "createPair":
        this.#create(action.port);
        this.#create(action.pod);
        this.pairs.set(action.port.id, action.pod.id).set(action.pod.id, action.port.id);
        return;
      case "deleteLink": {
        if (isSessions(this.links.get(action.link))) throw new Error("EOPNOTSUPP");
        const other = this.pairs.get(action.link);
        this.links.delete(action.link);
        if (other !== undefined) this.links.delete(other);
        this.#loseDevice(action.link);
        return;
      }
      default:
        return this.#changeLink(action);
    }
  }

  #deleteSession(datapath: string, key: string): void {
    const known = this.sessions.get(`${datapath} ${key}`);
    this.sessions.delete(`${datapath} ${key}`);
    const { makesDevices, device } = traitsOf(datapath);
    if (!makesDevices || known === undefined || forwardedSession(known) === null) return;
    const id = linkId.pseudowire(key);
    if (this.links.get(id)?.datapath === device.name) this.links.delete(id);
  }

  #deleteDevice(datapath: string, key: string): void {
    const { makesDevices, sessionsOutliveDevices } = traitsOf(datapath);
    expect(sessionsOutliveDevices).toBe(true);
    const id = linkId.pseudowire(key);
    this.links.delete(id);
    this.#loseDevice(id);
    const known = this.sessions.get(`${datapath} ${key}`);
    if (!makesDevices || known === undefined) return;
    this.sessions.set(`${datapath} ${key}`, { ...known, forwarding: null });
  }

  /** The process loses a deleted device. */
  #loseDevice(link: string): void {
    for (const [name, item] of this.sessions) {
      if (linkId.pseudowire(item.session.key) !== link) continue;
      this.sessions.set(name, { ...item, deviceOpen: false });
    }
  }

  #putTunnel(wanted: Tunnel): void {
    const { ports, tunnelDifference, device } = traitsOf(wanted.datapath);
    for (const known of this.tunnels.values()) {
      const isOwn = known.datapath === wanted.datapath;
      if (isOwn && known.name === wanted.name) {
        expect(tunnelDifference(known, wanted)).not.toBe("replace");
        continue;
      }
      const shares = ports === "shared" || !sameData(known.remote, wanted.remote);
      const canShare = isOwn && ports !== "exclusive" && shares;
      if (sameData(known.local, wanted.local) && !canShare) throw new Error("EADDRINUSE");
      // The kernel identifies tunnels by ID.
      const isKernels = device.isSessions && traitsOf(known.datapath).device === device;
      if (isKernels && known.tunnelId === wanted.tunnelId) throw new Error("EEXIST");
    }
    this.tunnels.set(`${wanted.datapath} ${wanted.name}`, wanted);
  }

  #putSession(action: Action & { do: "putSession" }): void {
    const { session: s, device, datapath, forwarding } = action;
    if (!this.tunnels.has(`${datapath} ${s.tunnel}`)) throw new Error("no tunnel");
    const { makesDevices, sessionsOutliveDevices, device: kind, deviceName } = traitsOf(datapath);
    const name = `${datapath} ${s.key}`;
    const id = linkId.pseudowire(s.key);
    const known = this.links.get(id);
    const forwarded = forwardedSession(action);
    if (forwarded !== null) this.#claimSessionId(name, datapath, forwarded.sessionId);
    if (device === "keep") expect(known?.datapath).toBe(kind.name);
    if (makesDevices && device !== "keep") {
      const before = this.sessions.get(name);
      if (before !== undefined && forwardedSession(before) !== null) throw new Error("EEXIST");
      const place = forwarded && { netns: null, name: deviceName(forwarded) };
      expect(device).toEqual(place);
    }
    const state = { session: s, datapath, deviceOpen: device !== null, receiving: true };
    // A datapath whose sessions outlive their devices lists both.
    const isTold = forwarding !== undefined || (makesDevices && sessionsOutliveDevices);
    this.sessions.set(name, isTold ? { ...state, forwarding: forwarded } : state);
    if (device === null || device === "keep") return;
    const made = { ...bare(id, "pseudowire"), ...device, ...macOf(s), datapath: kind.name };
    if (known !== undefined && !makesDevices) {
      // A TAP device cannot be opened as a TUN device.
      if (!carriesSame(known, made)) throw new Error("EINVAL");
      return expect(place(known)).toEqual(device);
    }
    expect(known).toBeUndefined();
    this.#create(made);
  }

  /** In the process, the last session with an ID gets its frames; the kernel rejects a second session. */
  #claimSessionId(name: string, datapath: string, sessionId: number): void {
    const { device } = traitsOf(datapath);
    for (const [otherName, other] of this.sessions) {
      if (forwardedSession(other)?.sessionId !== sessionId || otherName === name) continue;
      const isKernels = device.isSessions && traitsOf(other.datapath).device === device;
      if (isKernels) throw new Error("EEXIST");
      if (other.datapath !== datapath) continue;
      this.sessions.set(otherName, { ...other, receiving: false });
    }
  }

  #changeLink(action: Extract<Action, { link: string; at: Place }>): void {
    const link = this.links.get(action.link);
    if (link === undefined) throw new Error(`ENODEV ${action.link}`);
    expect(place(link)).toEqual(place(action.at));
    switch (action.do) {
      case "moveLink":
        this.#claim(action.to);
        this.links.set(link.id, {
          ...link,
          ...action.to,
          up: false,
          bridge: null,
          addresses: [],
          routes: [],
        });
        return;
      case "changeLink": {
        const fields = action.change;
        if (link.hasMac === false && fields.mac !== undefined) throw new Error("EOPNOTSUPP");
        if (fields.name !== undefined) {
          if (link.up) throw new Error("EBUSY");
          this.#claim({ netns: link.netns, name: fields.name });
        }
        const lost = fields.up === false ? { routes: [] } : {};
        this.links.set(link.id, {
          ...link,
          ...lost,
          ...fields,
        });
        return;
      }
      case "addAddress":
        this.links.set(link.id, { ...link, addresses: [...link.addresses, action.address] });
        return;
      case "addRoute":
        if (!link.up) throw new Error("ENETDOWN");
        this.links.set(link.id, { ...link, routes: [...link.routes, action.route] });
    }
  }

  #create(link: Link): void {
    this.#claim(link);
    const { mac, hasMac } = link;
    this.links.set(link.id, {
      ...bare(link.id, link.kind),
      ...place(link),
      ...(hasMac === false ? { mac, hasMac } : {}),
      datapath: link.datapath,
      label: "",
    });
  }

  #claim(at: Place): void {
    for (const link of this.links.values()) {
      if (sameData(place(link), place(at))) throw new Error(`EEXIST ${at.netns} ${at.name}`);
    }
  }
}

const place = ({ netns, name }: Place): Place => ({ netns, name });

/** Returns the MAC address of the session's device; null: none. */
function macOf(of: Parameters<typeof pseudowireOf>[0]): Pick<Link, "mac" | "hasMac"> {
  const { device } = pseudowireOf(of);
  return device?.hasMac === false ? { mac: null, hasMac: false } : { mac: "aa" };
}

/** True if the link exists exactly as long as its session. */
function isSessions(link: Link | undefined): boolean {
  return deviceKind(link?.datapath)?.isSessions === true;
}

function bare(id: string, kind: Link["kind"]): Link {
  return {
    id,
    kind,
    datapath: null,
    label: id,
    netns: null,
    name: id,
    mtu: 1500,
    mac: "aa",
    up: false,
    bridge: null,
    addresses: [],
    routes: [],
  };
}

/** A few sessions, tunnels and pods: small numbers, so that they collide. */
interface Drawn {
  tunnel: number;
  sessionId: number;
  mtu: number;
  attachment: null | DrawnPod;
  type?: PseudowireType;
  /** Difference of negotiated IDs from the session's own, if frames wait for negotiation; 0: not negotiated. */
  agreed?: number;
  /** No negotiation, even with a control connection (quiescent). */
  isStatic?: boolean;
}

interface DrawnPod {
  pod: number;
  mode: AttachmentMode;
  address: boolean;
  /** The state of the node interface, in a mode that connects the session to one. */
  node?: InterfaceState;
}

const drawnSession: fc.Arbitrary<Drawn> = fc.record({
  tunnel: fc.integer({ min: 0, max: 1 }),
  sessionId: fc.integer({ min: 1, max: 4 }),
  mtu: fc.constantFrom(1400, 1500),
  agreed: fc.constantFrom(0, 100, 200),
  type: fc.constantFrom(...PSEUDOWIRE_TYPES),
  isStatic: fc.boolean(),
  attachment: fc.option(
    fc.record({
      pod: fc.integer({ min: 0, max: 2 }),
      mode: fc.constantFrom(...ATTACHMENT_MODES),
      address: fc.boolean(),
      node: fc.constantFrom<InterfaceState>(
        { kind: "own" },
        { kind: "port", bridge: "foreign 9", isUp: true },
        { kind: "joined", index: 9, mtu: 1500, isUp: true },
        { kind: "unusable", reason: "", message: "" },
      ),
    }),
  ),
});
const drawnNode = fc.record({
  sessions: fc.array(fc.option(drawnSession), { minLength: 4, maxLength: 4 }),
  planes: fc.tuple(drawnPlane(), drawnPlane()),
});

type Planes = readonly [string, string];

function drawnPlane(): fc.Arbitrary<string> {
  return fc.constantFrom(...DATAPATHS.map(({ traits }) => traits.name));
}

const USERSPACE: Planes = ["Userspace", "Userspace"];
const KERNEL: Planes = ["Kernel", "Kernel"];
const MANAGED: Planes = ["ManagedKernel", "ManagedKernel"];

/** Returns the tunnel with that number. Some datapaths serve only tunnels with a control connection. */
function tunnelOf(number: number, port: number, datapath: string): Tunnel {
  const local = { address: "192.0.2.1", port: port + number };
  const plain = tunnel({ name: `t${number}`, datapath, tunnelId: number + 1, local });
  return traitsOf(datapath).serves(plain) ? plain : { ...plain, control: tunnelControl() };
}

/** Returns the session as its datapath lists it. */
function liveOf(
  node: ModelNode,
  { datapath, name }: Tunnel,
  key: string,
  agreedId: number | null,
): LiveSession {
  const known = node.sessions.get(`${datapath} ${key}`);
  const established = agreedId === null ? null : agreement(key, agreedId);
  return {
    tunnel: node.tunnels.get(`${datapath} ${name}`),
    session: known && { ...known, established },
  };
}

function agreement(key: string, sessionId: number) {
  const circuit = { active: true, standby: false };
  return {
    ...{ key, sessionId, peerSessionId: 2, rxCookie: "", txCookie: "" },
    ...({ l2SpecificSublayer: "Default", peerCircuit: circuit, peerMtu: null } as const),
    sequencing: { send: false, receive: false },
  };
}

/** Returns the desired state of a node with these sessions; session IDs and pods are unique. */
function desire(
  drawn: readonly (Drawn | null)[],
  port: number,
  planes: Planes,
  node = new ModelNode(),
): Desired {
  const ids = new Set<number>();
  const pods = new Set<number>();
  const chosen = drawn.flatMap((item, index) => {
    if (item === null || ids.has(item.sessionId)) return [];
    ids.add(item.sessionId);
    const free = item.attachment !== null && !pods.has(item.attachment.pod);
    if (item.attachment !== null) pods.add(item.attachment.pod);
    return [{ ...item, key: `ns/s${index}`, attachment: free ? item.attachment : null }];
  });
  const parts = chosen.map((item) =>
    desireOne(item, tunnelOf(item.tunnel, port, planes[item.tunnel] ?? ""), node),
  );
  const numbers = [...new Set(chosen.map((item) => item.tunnel))];
  const tunnels = numbers.map((number) => tunnelOf(number, port, planes[number] ?? ""));
  return {
    tunnels,
    sessions: parts.map((part) => part.session),
    links: parts.flatMap((part) => part.links),
    pairs: parts.flatMap((part) => part.pairs),
  };
}

function desireOne(
  { key, mtu, attachment, sessionId, agreed = 0, ...drawn }: Drawn & { readonly key: string },
  itsTunnel: Tunnel,
  node: ModelNode,
) {
  const { name, datapath, control } = itsTunnel;
  const traits = traitsOf(datapath);
  const type = typeIn(traits, drawn.type);
  const signalled = control === undefined || drawn.isStatic ? {} : { control: sessionControl() };
  const named = type === DEFAULT_PSEUDOWIRE ? {} : { pseudowireType: type.name };
  const wanted = session({ key, tunnel: name, sessionId, mtu, ...signalled, ...named });
  const both = { session: wanted, tunnel: itsTunnel };
  const live = liveOf(node, itsTunnel, key, agreed === 0 ? null : sessionId + agreed);
  const forwarding = traits.forwarding(both, live);
  const forwarded = forwarding?.session ?? wanted;
  const blank: Link = {
    ...bare(linkId.pseudowire(key), "pseudowire"),
    datapath: traits.device.name,
    label: "",
    name: "",
    mtu,
    ...macOf(wanted),
  };
  const label = pseudowireLabel(key, forwarded.sessionId);
  const up = forwarding?.isUp === true;
  const made: Link = { ...blank, label, name: traits.deviceName(forwarded), up };
  const isWanted = traits.makesDevices || attachment !== null;
  const device = forwarding !== null && isWanted && type.device !== null ? made : null;
  const waits = traits.waitsForAgreement(both);
  return {
    ...attachedLinks(blank, device, attachment, { key, sessionId }, type),
    session: {
      session: wanted,
      datapath,
      ...(waits ? { forwarding: forwarding?.session ?? null } : {}),
      link: device?.id ?? null,
    },
  };
}

/** Returns the session's device, if it must have one, and the other links of its attachment. */
function attachedLinks(
  blank: Link,
  device: Link | null,
  attachment: DrawnPod | null,
  { key, sessionId }: { readonly key: string; readonly sessionId: number },
  type: PseudowireType,
): Pick<Desired, "links" | "pairs"> {
  // No pod is attached.
  if (attachment === null) {
    return { links: device === null ? [] : [{ ...device, up: false }], pairs: [] };
  }
  const mode = modeOf(attachment, type);
  if (mode.onNode !== undefined) {
    const at = {
      name: `edge${attachment.pod}`,
      addresses: [],
      state: attachment.node ?? { kind: "own" as const },
    };
    const links = device === null ? [] : [mode.onNode.wantedDevice(device, at)];
    return { links, pairs: [] };
  }
  return mode.wantedLinks({
    session: { key, sessionId },
    nodeName: "node",
    blank,
    device,
    attachments: [attachedPod(key, attachment)],
    isSilent: false,
    present: new Map(),
  });
}

/** Returns the random type, if the datapath can carry it. */
function typeIn(traits: DatapathTraits, type: PseudowireType = DEFAULT_PSEUDOWIRE): PseudowireType {
  return traits.whyNotPseudowire(type) === null ? type : DEFAULT_PSEUDOWIRE;
}

/** Returns the random mode, if it can attach the type. */
function modeOf({ mode }: DrawnPod, type: PseudowireType): AttachmentMode {
  return canAttach(mode, type) ? mode : attachmentMode();
}

function attachedPod(session: string, { pod, address }: DrawnPod): Attachment {
  return {
    ...{ containerId: `c${pod}`, cniIfname: "net1", ifname: "net1", netns: `pod${pod}` },
    ...{ netnsIdentity: "1", session, pod: `ns/p${pod}`, network: "net", mac: "bb" },
    addresses: address ? ["10.0.0.1/24"] : [],
    routes: address ? [{ destination: "0.0.0.0/0", gateway: "10.0.0.2" }] : [],
    ...{ createdAt: "2026-01-01T00:00:00Z", leaving: false, ipam: null },
  };
}

function converge(desired: Desired, node: ModelNode): void {
  for (const action of plan(desired, node.observe())) node.apply(action);
  expect(plan(desired, node.observe())).toEqual([]);
}

/** Plans and applies until no negotiation changes the desired state. Returns the last desired state. */
function settle(desireOf: () => Desired, node: ModelNode): Desired {
  for (let round = 0; round < 3; round++) converge(desireOf(), node);
  const desired = desireOf();
  expect(plan(desired, node.observe())).toEqual([]);
  return desired;
}

/** Damages to a node by manual changes and crashes. */
const DAMAGES = [
  "crash",
  "deleteLink",
  "deleteSession",
  "down",
  "mtu",
  "unlabel",
  "rename",
  "dieNetns",
] as const;
const damage = fc.record({ kind: fc.constantFrom(...DAMAGES), pick: fc.nat() });

type Injury = (node: ModelNode, link: Link, pick: number) => void;

/** Damages to a link. A session's device cannot be deleted by hand in the kernel. */
const INJURIES: Readonly<
  Record<Exclude<(typeof DAMAGES)[number], "crash" | "deleteSession">, Injury>
> = {
  dieNetns(node, { netns }, pick) {
    if (netns === null) return;
    for (const dead of [...node.links.values()]) if (dead.netns === netns) die(node, dead, pick);
  },
  deleteLink(node, link) {
    if (!isSessions(link)) node.apply({ do: "deleteLink", link: link.id, at: link });
  },
  unlabel(node, link) {
    // Labels in pods are not read.
    if (isSessions(link) && link.netns === null) forget(node, link);
    else node.links.set(link.id, { ...link, label: "" });
  },
  down: (node, link) => node.links.set(link.id, { ...link, up: false, routes: [] }),
  mtu: (node, link) => node.links.set(link.id, { ...link, mtu: 9999 }),
  rename: (node, link, pick) => node.links.set(link.id, { ...link, name: `hand${pick}` }),
};

function inflict(node: ModelNode, kind: (typeof DAMAGES)[number], pick: number): void {
  if (kind === "crash") return crash(node);
  if (kind === "deleteSession") return deleteSession(node, pick);
  const links = [...node.links.values()];
  const link = links[pick % Math.max(1, links.length)];
  if (link !== undefined) INJURIES[kind](node, link, pick);
}

/** The process exits. Its devices stay; its sessions in the kernel do not. */
function crash(node: ModelNode): void {
  const isProcess = ({ datapath }: { datapath: string }) => traitsOf(datapath).needsProcess;
  for (const { datapath, name } of [...node.tunnels.values()].filter(isProcess)) {
    if (traitsOf(datapath).device.isSessions) node.apply({ do: "deleteTunnel", datapath, name });
  }
  for (const programmed of [node.tunnels, node.sessions]) {
    for (const [name, item] of programmed) if (isProcess(item)) programmed.delete(name);
  }
}

/** Deletes a session by hand, as `ip l2tp del session` does. */
function deleteSession(node: ModelNode, pick: number): void {
  const sessions = [...node.sessions.values()].filter(
    (item) => traitsOf(item.datapath).device.isSessions && forwardedSession(item) !== null,
  );
  const item = sessions[pick % Math.max(1, sessions.length)];
  if (item === undefined) return;
  const { datapath, session: s } = item;
  const op = traitsOf(datapath).sessionsOutliveDevices ? "deleteDevice" : "deleteSession";
  node.apply({ do: op, datapath, key: s.key });
}

/** The pod is deleted: a session's device returns to the node, down, with the pod's name. */
function die(node: ModelNode, link: Link, pick: number): void {
  if (!isSessions(link)) {
    node.apply({ do: "deleteLink", link: link.id, at: link });
    return;
  }
  const bare = { netns: null, up: false, addresses: [], routes: [] };
  node.links.set(link.id, { ...link, ...bare, name: `dev${pick}` });
}

/** Without its label, the session of a device is unknown, and so is its forwarding. */
function forget(node: ModelNode, link: Link): void {
  node.links.delete(link.id);
  for (const [name, item] of node.sessions) {
    const forwarded = forwardedSession(item);
    const { device, sessionsOutliveDevices } = traitsOf(item.datapath);
    const isIts = linkId.pseudowire(item.session.key) === link.id && device.isSessions;
    if (!isIts || forwarded === null) continue;
    if (sessionsOutliveDevices) node.sessions.set(name, { ...item, forwarding: null });
    else node.sessions.delete(name);
    const unknown = { ...forwarded, key: `unknown ${forwarded.sessionId}` };
    const state = { ...item, session: unknown };
    node.sessions.set(
      `${item.datapath} ${unknown.key}`,
      item.forwarding === undefined ? state : { ...state, forwarding: unknown },
    );
  }
}

describe("plan", () => {
  it("reaches the desired state from any state, and is then empty", () => {
    fc.assert(
      fc.property(drawnNode, drawnNode, fc.array(damage), (first, second, damages) => {
        const node = new ModelNode();
        settle(() => desire(first.sessions, 5000, first.planes, node), node);
        for (const { kind, pick } of damages) inflict(node, kind, pick);
        const after = settle(() => desire(second.sessions, 5002, second.planes, node), node);
        expect([...node.sessions.keys()].sort()).toEqual(
          after.sessions.map(({ session: s, datapath }) => `${datapath} ${s.key}`).sort(),
        );
        expect([...node.tunnels.keys()].sort()).toEqual(
          after.tunnels.map(({ name, datapath }) => `${datapath} ${name}`).sort(),
        );
        expect([...node.links.keys()].sort()).toEqual(after.links.map(({ id }) => id).sort());
        for (const wanted of after.links) {
          expect(node.links.get(wanted.id)).toMatchObject({
            ...wanted,
            label: wanted.netns === null ? wanted.label : expect.anything(),
            mac: wanted.hasMac === false ? null : (wanted.mac ?? expect.anything()),
            addresses: expect.arrayContaining([...wanted.addresses]),
            routes: expect.arrayContaining([...wanted.routes]),
          });
        }
      }),
      { numRuns: 2000 },
    );
  });

  const inPod = { pod: 0, mode: attachmentMode(), address: false };
  const one: Drawn = { tunnel: 0, sessionId: 1, mtu: 1500, attachment: inPod };

  it("changes only differing properties", () => {
    const before = desire([one, null], 5000, USERSPACE);
    const node = new ModelNode();
    converge(before, node);
    expect(plan(desire([{ ...one, mtu: 1400 }], 5000, USERSPACE), node.observe())).toEqual([
      expect.objectContaining({ do: "putSession", device: "keep" }),
      expect.objectContaining({ do: "changeLink", change: { mtu: 1400 } }),
    ]);
    expect(plan(desire([one], 5001, USERSPACE), node.observe())).toEqual([
      expect.objectContaining({ do: "putTunnel" }),
    ]);
    expect(
      plan(
        desire([one, { ...one, sessionId: 2, attachment: null }], 5000, USERSPACE),
        node.observe(),
      ),
    ).toEqual([expect.objectContaining({ do: "putSession", device: null })]);
  });

  it("reopens a device in the pod", () => {
    const attached = { ...one, attachment: { pod: 1, mode: attachmentMode(), address: false } };
    const desired = desire([attached], 5000, USERSPACE);
    const node = new ModelNode();
    converge(desired, node);
    inflict(node, "crash", 0);
    expect(plan(desired, node.observe())).toEqual([
      expect.objectContaining({ do: "putTunnel" }),
      expect.objectContaining({ do: "putSession", device: { netns: "pod1", name: "net1" } }),
    ]);
  });

  it.each([
    [USERSPACE, ["deleteDevice", "putSession"]],
    [KERNEL, ["deleteSession", "putSession"]],
  ] as const)(
    "reaches a device in %s that a pod moved away by its session alone",
    (planes, doings) => {
      const node = new ModelNode();
      const attached = desire([one], 5000, planes);
      converge(attached, node);
      const [link] = attached.links;
      if (link === undefined) throw new Error("no link");
      const elsewhere = { ...link, isElsewhere: true, index: 0 };
      const observed = { ...node.observe(), links: [elsewhere] };
      // No action while the pod has it.
      expect(plan({ ...attached, links: [elsewhere] }, observed)).toEqual([]);
      const left = desire([{ ...one, attachment: null }], 5000, planes);
      expect(plan(left, observed).map((action) => action.do)).toEqual(
        expect.arrayContaining([...doings]),
      );
      expect(plan(left, observed).map((action) => action.do)).not.toContain("deleteLink");
      const nothing = { tunnels: [], sessions: [], links: [], pairs: [] };
      expect(plan(nothing, observed).map((action) => action.do)).not.toContain("deleteLink");
    },
  );

  it("changes sequencing in the kernel in place, and recreates sessions for other changes", () => {
    const node = new ModelNode();
    const before = desire([one], 5000, KERNEL);
    converge(before, node);
    const [item] = before.sessions;
    if (item === undefined) throw new Error("no session");
    const changed = (change: Partial<typeof item.session>) => ({
      ...before,
      sessions: [{ ...item, session: { ...item.session, ...change } }],
    });
    const sequencing = { send: true, receive: true, reorderTimeoutMs: 20 };
    expect(plan(changed({ sequencing }), node.observe())).toEqual([
      expect.objectContaining({ do: "putSession", device: "keep" }),
    ]);
    const anew = plan(changed({ txCookie: "00000000" }), node.observe());
    expect(anew.map((action) => action.do)).toEqual([
      "deleteSession",
      "putSession",
      "changeLink",
      "moveLink",
      "changeLink",
    ]);
  });

  it("replaces the kernel's session after each negotiation of a managed tunnel", () => {
    const node = new ModelNode();
    const agreed = { ...one, agreed: 100 };
    const desired = (wanted: Drawn[], port = 5000) => desire(wanted, port, MANAGED, node);
    const doings = (wanted: Drawn[], port = 5000) =>
      plan(desired(wanted, port), node.observe()).map((action) => action.do);
    converge(desired([one]), node);
    expect(node.links.size).toBe(0);
    expect(doings([agreed])).toEqual(["putSession", "changeLink", "moveLink", "changeLink"]);
    converge(desired([agreed]), node);
    // The negotiated session ended: the device stays, down.
    expect(doings([one])).toEqual(["changeLink"]);
    const again = { ...one, agreed: 200 };
    expect(doings([again])).toEqual([
      ...["deleteDevice", "putSession", "changeLink", "moveLink", "changeLink"],
    ]);
    // Another port requires another socket.
    expect(doings([one], 5001)).toEqual([
      ...["deleteSession", "deleteTunnel", "putTunnel", "putSession"],
    ]);
    const nothing = { tunnels: [], sessions: [], links: [], pairs: [] };
    expect(plan(nothing, node.observe())).toHaveLength(2);
  });

  it.each([
    [KERNEL, MANAGED],
    [MANAGED, KERNEL],
    [USERSPACE, MANAGED],
    [MANAGED, USERSPACE],
  ])("goes from %s to %s, on one port", (from, to) => {
    const node = new ModelNode();
    const agreed = { ...one, agreed: 100 };
    settle(() => desire([agreed], 5000, from, node), node);
    converge(desire([one], 5000, to, node), node);
    settle(() => desire([agreed], 5000, to, node), node);
    expect(node.links.size).toBe(1);
  });

  it("replaces the device when the pseudowire type changes", () => {
    const node = new ModelNode();
    const before = desire([one], 5000, USERSPACE);
    converge(before, node);
    const [item] = before.sessions;
    if (item === undefined) throw new Error("no session");
    const other = { ...item, session: { ...item.session, pseudowireType: "IP" } };
    const links = before.links.map((each) => ({ ...each, mac: null, hasMac: false }));
    const after = { ...before, sessions: [other], links };
    const actions = plan(after, node.observe());
    expect(actions.slice(0, 3)).toEqual([
      expect.objectContaining({ do: "deleteDevice" }),
      expect.objectContaining({ do: "deleteSession" }),
      expect.objectContaining({ do: "putSession", device: { netns: "pod0", name: "net1" } }),
    ]);
    converge(after, node);
  });

  it("replaces a device of another kind without a session", () => {
    const node = new ModelNode();
    const bareIp = PSEUDOWIRE_TYPES.find(({ device }) => device?.hasMac === false);
    if (bareIp === undefined) throw new Error("no type");
    converge(desire([one], 5000, USERSPACE), node);
    inflict(node, "crash", 0);
    const after = desire([{ ...one, type: bareIp }], 5000, USERSPACE);
    expect(plan(after, node.observe()).map((action) => action.do)).toContain("deleteLink");
    converge(after, node);
    expect([...node.links.values()]).toMatchObject([{ name: "net1", hasMac: false, mac: null }]);
  });

  it("creates no tunnel in the kernel before it has a session", () => {
    const node = new ModelNode();
    const { tunnels } = desire([one], 5000, KERNEL);
    expect(plan({ tunnels, sessions: [], links: [], pairs: [] }, node.observe())).toEqual([]);
  });
});
