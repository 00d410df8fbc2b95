import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sameData } from "../l2tp/same-data.ts";
import {
  ATTACHMENT_MODES,
  type Attachment,
  type AttachmentMode,
  attachmentMode,
  canAttach,
} from "./attachments/index.ts";
import { deviceName } from "./device-name.ts";
import { controlHalf, controlHalfOf, isControlHalf, isHandedOver, wholeName } from "./halves.ts";
import { linkId, pseudowireLabel } from "./link-label.ts";
import type { Datapath, Tunnel } from "./model.ts";
import {
  type Action,
  type Desired,
  type Link,
  type Observed,
  type ObservedSession,
  type Place,
  plan,
} from "./plan.ts";
import {
  DEFAULT_PSEUDOWIRE,
  PSEUDOWIRE_TYPES,
  type PseudowireType,
  whyNotInKernel,
} from "./pseudowires/index.ts";
import { session, tunnel, tunnelControl } from "./testdata.ts";

/** A node as the plan believes that it behaves; refuses what the kernel would refuse. */
class ModelNode {
  /** By datapath and name: while one takes over from the other, both may have it. */
  readonly tunnels = new Map<string, Tunnel>();
  readonly sessions = new Map<string, ObservedSession>();
  readonly links = new Map<string, Link>();
  /** Ends of veth pairs, both ways. */
  readonly pairs = new Map<string, string>();

  observe(): Observed {
    const sessions = [...this.sessions.values()];
    const isUsed = ({ name }: Tunnel) =>
      sessions.some(({ datapath, session: s }) => datapath === "Kernel" && s.tunnel === name);
    return {
      // Nobody can tell whose a tunnel of the kernel's is, but by its sessions; nor whether its socket is held.
      tunnels: [...this.tunnels.values()]
        .filter((each) => !isHandedOver(each) || isUsed(each))
        .map((each) => (each.datapath === "Kernel" ? without("control", each) : each)),
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
        // The socket is closed, and the kernel lets go of what it was given.
        if (isControlHalf(action.name)) {
          this.apply({ do: "deleteTunnel", datapath: "Kernel", name: wholeName(action.name) });
        }
        return;
      case "putSession":
        return this.#putSession(action);
      case "deleteSession": {
        this.sessions.delete(`${action.datapath} ${action.key}`);
        const id = linkId.pseudowire(action.key);
        if (action.datapath === "Kernel" && this.links.get(id)?.datapath === "Kernel") {
          this.links.delete(id);
        }
        return;
      }
      case "deleteDevice": {
        const id = linkId.pseudowire(action.key);
        this.links.delete(id);
        return this.#loseDevice(id);
      }
      case "createBridge":
        return this.#create(action.link);
      case "createPair":
        this.#create(action.port);
        this.#create(action.pod);
        this.pairs.set(action.port.id, action.pod.id).set(action.pod.id, action.port.id);
        return;
      case "deleteLink": {
        if (this.links.get(action.link)?.datapath === "Kernel") throw new Error("EOPNOTSUPP");
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

  /** What a session's own side does to its device: the userspace datapath loses it. */
  #loseDevice(link: string): void {
    for (const [name, item] of this.sessions) {
      if (item.datapath !== "Userspace" || linkId.pseudowire(item.session.key) !== link) continue;
      this.sessions.set(name, { ...item, deviceOpen: false });
    }
  }

  /** A port belongs to one datapath, and the kernel changes nothing of a tunnel. */
  #putTunnel(wanted: Tunnel): void {
    if (isHandedOver(wanted)) {
      if (!this.tunnels.has(`Kernel ${wanted.name}`)) throw new Error("NotHandedOver");
      return;
    }
    if (wanted.handsOver) {
      const known = this.tunnels.get(`Kernel ${wholeName(wanted.name)}`);
      if (known !== undefined && !isHandedOver(known)) throw new Error("EADDRINUSE");
      const given = without("handsOver", wanted);
      const kernels = { ...given, name: wholeName(wanted.name), datapath: "Kernel" } as const;
      this.tunnels.set(`Kernel ${kernels.name}`, kernels);
    }
    for (const known of this.tunnels.values()) {
      if (wholeName(known.name) === wholeName(wanted.name) && wanted.handsOver) continue;
      const sharesPort = sameData(known.local, wanted.local) && known.datapath !== wanted.datapath;
      if (sharesPort) throw new Error("EADDRINUSE");
      const sharesId = known.tunnelId === wanted.tunnelId && wanted.datapath === "Kernel";
      if (sharesId && known.datapath === "Kernel") throw new Error("EEXIST");
    }
    this.tunnels.set(`${wanted.datapath} ${wanted.name}`, wanted);
  }

  #putSession(action: Action & { do: "putSession" }): void {
    const { session: s, device, datapath } = action;
    if (!this.tunnels.has(`${datapath} ${s.tunnel}`)) throw new Error("no tunnel");
    const name = `${datapath} ${s.key}`;
    const id = linkId.pseudowire(s.key);
    const known = this.links.get(id);
    for (const [otherName, other] of this.sessions) {
      const sharesId = other.session.sessionId === s.sessionId && other.datapath === datapath;
      if (!sharesId || otherName === name) continue;
      if (datapath === "Kernel") throw new Error("EEXIST");
      this.sessions.set(otherName, { ...other, receiving: false });
    }
    if (device === "keep") expect(known?.datapath).toBe(datapath);
    if (datapath === "Kernel" && device !== "keep") {
      if (this.sessions.has(name)) throw new Error("EEXIST");
      expect(device).toEqual({ netns: null, name: deviceName(s, "Kernel") });
    }
    const state = { session: s, datapath, deviceOpen: device !== null, receiving: true };
    this.sessions.set(name, state);
    if (device === null || device === "keep") return;
    if (known === undefined) this.#create({ ...bare(id, "pseudowire"), ...device, datapath });
    else expect(place(known)).toEqual(device);
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
    this.links.set(link.id, {
      ...bare(link.id, link.kind),
      ...place(link),
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

function without<T extends object, K extends keyof T>(field: K, { [field]: _, ...rest }: T) {
  return rest as Omit<T, K>;
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

/** A few sessions on a few tunnels with a few pods: small numbers, so that everything collides. */
interface Drawn {
  tunnel: number;
  sessionId: number;
  mtu: number;
  attachment: null | DrawnPod;
  type?: PseudowireType;
  /** Of a held tunnel's: whether its ends have agreed. */
  agreed?: boolean;
}

interface DrawnPod {
  pod: number;
  mode: AttachmentMode;
  address: boolean;
}

/** "Held": in the kernel, with a control half. */
type Plane = Datapath | "Held";

const drawnSession: fc.Arbitrary<Drawn> = fc.record({
  tunnel: fc.integer({ min: 0, max: 1 }),
  sessionId: fc.integer({ min: 1, max: 4 }),
  mtu: fc.constantFrom(1400, 1500),
  agreed: fc.boolean(),
  type: fc.constantFrom(...PSEUDOWIRE_TYPES),
  attachment: fc.option(
    fc.record({
      pod: fc.integer({ min: 0, max: 2 }),
      mode: fc.constantFrom(...ATTACHMENT_MODES),
      address: fc.boolean(),
    }),
  ),
});
const drawnNode = fc.record({
  sessions: fc.array(fc.option(drawnSession), { minLength: 4, maxLength: 4 }),
  planes: fc.tuple(drawnPlane(), drawnPlane()),
});

function drawnPlane(): fc.Arbitrary<Plane> {
  return fc.constantFrom("Userspace", "Kernel", "Held");
}

const USERSPACE = ["Userspace", "Userspace"] as const;
const KERNEL = ["Kernel", "Kernel"] as const;
const HELD = ["Held", "Held"] as const;
/** What is agreed on is not what the manifests say. */
const AGREED_IDS = 100;

/** What an agent would want of a node with these sessions; session ids and pods are kept unique. */
function desire(
  drawn: readonly (Drawn | null)[],
  port: number,
  planes: readonly [Plane, Plane],
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
  const links: Link[] = [];
  const pairs: { port: string; pod: string }[] = [];
  const carried = chosen.map(({ key, tunnel: number, mtu, attachment, ...item }) => {
    const id = linkId.pseudowire(key);
    const datapath = datapathOf(planes[number]);
    const sessionId = item.sessionId + (planes[number] === "Held" ? AGREED_IDS : 0);
    const type = typeIn(datapath, item.type);
    const named = type === DEFAULT_PSEUDOWIRE ? {} : { pseudowireType: type.name };
    const wanted = session({ key, tunnel: `t${number}`, sessionId, mtu, ...named });
    const base: Link = {
      ...bare(id, "pseudowire"),
      datapath,
      label: pseudowireLabel(key, sessionId),
      mtu,
      name: deviceName(wanted, datapath),
      mac: type.device?.hasMac === false ? null : "aa",
    };
    if (attachment === null) {
      // Nobody has attached: a device in the kernel, none in userspace.
      if (datapath === "Kernel") links.push(base);
    } else {
      const wantedLinks = modeOf(attachment, type).wantedLinks({
        session: { key, sessionId: item.sessionId },
        nodeName: "node",
        blank: { ...base, label: "", name: "" },
        device: { ...base, up: true },
        attachments: [attachedPod(key, attachment)],
        isSilent: false,
        present: new Map(),
      });
      links.push(...wantedLinks.links);
      pairs.push(...wantedLinks.pairs);
    }
    const hasDevice = attachment !== null || datapath === "Kernel";
    return { session: wanted, datapath, link: hasDevice ? id : null };
  });
  const tunnels = [...new Set(chosen.map((item) => item.tunnel))].map((number) =>
    tunnel({
      name: `t${number}`,
      datapath: datapathOf(planes[number]),
      tunnelId: number + 1,
      local: { address: "192.0.2.1", port: port + number },
      ...(planes[number] === "Held" ? { control: tunnelControl() } : {}),
    }),
  );
  const held = new Set(tunnels.filter(isHandedOver).map(({ name }) => name));
  const halves = carried
    .filter(({ session: { tunnel: name } }) => held.has(name))
    .map(({ session: s }) => {
      return { session: controlHalfOf(s), datapath: "Userspace", link: null } as const;
    });
  const silent = chosen.filter((item) => planes[item.tunnel] === "Held" && !item.agreed);
  const silentKeys = new Set(silent.map(({ key }) => key));
  const silentLinks = new Set(silent.map(({ key }) => linkId.pseudowire(key)));
  return {
    tunnels: [...tunnels.filter(isHandedOver).map(controlHalf), ...tunnels],
    sessions: [...halves, ...carried.filter(({ session: { key } }) => !silentKeys.has(key))],
    links: links.filter(({ id }) => !silentLinks.has(id)),
    pairs,
  };
}

/** The type that was drawn, if the datapath can carry it. */
function typeIn(datapath: Datapath, type: PseudowireType = DEFAULT_PSEUDOWIRE): PseudowireType {
  return datapath === "Kernel" && whyNotInKernel(type) !== null ? DEFAULT_PSEUDOWIRE : type;
}

/** The mode that was drawn, if it can carry the type's frames. */
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

function datapathOf(plane: Plane | undefined): Datapath {
  return plane === "Held" ? "Kernel" : (plane ?? "Userspace");
}

function converge(desired: Desired, node: ModelNode): void {
  for (const action of plan(desired, node.observe())) node.apply(action);
  expect(plan(desired, node.observe())).toEqual([]);
}

/** What hands and crashes do to a node. */
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

/** Of a link; those of the kernel's L2TP cannot be deleted by hand. */
const INJURIES: Readonly<
  Record<Exclude<(typeof DAMAGES)[number], "crash" | "deleteSession">, Injury>
> = {
  dieNetns(node, { netns }, pick) {
    if (netns === null) return;
    for (const dead of [...node.links.values()]) if (dead.netns === netns) die(node, dead, pick);
  },
  deleteLink(node, link) {
    if (link.datapath !== "Kernel") node.apply({ do: "deleteLink", link: link.id, at: link });
  },
  unlabel(node, link) {
    // In a pod a label tells nobody anything.
    if (link.datapath === "Kernel" && link.netns === null) forget(node, link);
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

/** Of the userspace datapath; its devices stay, but not what it holds in the kernel. */
function crash(node: ModelNode): void {
  for (const { name } of [...node.tunnels.values()].filter(({ handsOver }) => handsOver)) {
    node.apply({ do: "deleteTunnel", datapath: "Userspace", name });
  }
  for (const programmed of [node.tunnels, node.sessions]) {
    for (const [name, { datapath }] of programmed) {
      if (datapath === "Userspace") programmed.delete(name);
    }
  }
}

/** By hand, as `ip l2tp del session` does. */
function deleteSession(node: ModelNode, pick: number): void {
  const sessions = [...node.sessions.values()].filter(({ datapath }) => datapath === "Kernel");
  const key = sessions[pick % Math.max(1, sessions.length)]?.session.key;
  if (key !== undefined) node.apply({ do: "deleteSession", datapath: "Kernel", key });
}

/** The pod has gone: what the kernel's L2TP made comes back to the node, down, under the pod's name. */
function die(node: ModelNode, link: Link, pick: number): void {
  if (link.datapath !== "Kernel") {
    node.apply({ do: "deleteLink", link: link.id, at: link });
    return;
  }
  const bare = { netns: null, up: false, addresses: [], routes: [] };
  node.links.set(link.id, { ...link, ...bare, name: `dev${pick}` });
}

/** Without its label nobody knows whose the kernel's device is, nor then whose the session. */
function forget(node: ModelNode, link: Link): void {
  node.links.delete(link.id);
  for (const [name, item] of node.sessions) {
    if (linkId.pseudowire(item.session.key) !== link.id || item.datapath !== "Kernel") continue;
    node.sessions.delete(name);
    const key = `unknown ${item.session.sessionId}`;
    node.sessions.set(`Kernel ${key}`, { ...item, session: { ...item.session, key } });
  }
}

describe("plan", () => {
  it("reaches what is desired from anything, and then rests", () => {
    fc.assert(
      fc.property(drawnNode, drawnNode, fc.array(damage), (first, second, damages) => {
        const before = desire(first.sessions, 5000, first.planes);
        const node = new ModelNode();
        converge(before, node);
        for (const { kind, pick } of damages) inflict(node, kind, pick);
        const after = desire(second.sessions, 5002, second.planes);
        converge(after, node);
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
            mac: wanted.mac ?? expect.anything(),
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

  it("changes only what must change", () => {
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

  it("opens a device again where it stands, in the pod", () => {
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
      // While the pod has it, nothing is done.
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

  it("changes sequencing of the kernel's sessions in place, and makes anew what else changes", () => {
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

  it("leaves the kernel's tunnel to the control half that holds it", () => {
    const node = new ModelNode();
    const agreed = { ...one, agreed: true };
    const doings = (wanted: Drawn[], port = 5000) =>
      plan(desire(wanted, port, HELD), node.observe()).map((action) => action.do);
    converge(desire([one], 5000, HELD), node);
    expect(doings([agreed])).toEqual([
      ...["putTunnel", "putSession", "changeLink", "moveLink", "changeLink"],
    ]);
    converge(desire([agreed], 5000, HELD), node);
    expect(doings([one])).toEqual(["deleteSession"]);
    // Where the manifests are broken, what is there is all that is known of it.
    const spared = { ...desire([agreed], 5000, HELD), tunnels: node.observe().tunnels };
    expect(plan(spared, node.observe())).toEqual([]);
    // Another port is another socket.
    expect(doings([one], 5001)).toEqual([
      ...["deleteSession", "deleteTunnel", "deleteSession", "deleteTunnel"],
      ...["putTunnel", "putSession"],
    ]);
    expect(plan({ tunnels: [], sessions: [], links: [], pairs: [] }, node.observe())).toHaveLength(
      4,
    );
  });

  it.each([
    [KERNEL, HELD],
    [HELD, KERNEL],
    [USERSPACE, HELD],
    [HELD, USERSPACE],
  ])("goes from %s to %s, on one port", (from, to) => {
    const node = new ModelNode();
    const agreed = { ...one, agreed: true };
    converge(desire([agreed], 5000, from), node);
    converge(desire([{ ...one, agreed: false }], 5000, to), node);
    converge(desire([agreed], 5000, to), node);
    expect(node.links.size).toBe(1);
  });

  it("makes no tunnel in the kernel before it has a session", () => {
    const node = new ModelNode();
    const { tunnels } = desire([one], 5000, KERNEL);
    expect(plan({ tunnels, sessions: [], links: [], pairs: [] }, node.observe())).toEqual([]);
  });
});
