import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Action,
  type Desired,
  type Link,
  linkId,
  type Observed,
  type ObservedLink,
  type ObservedSession,
  type Place,
  parseLinkId,
  plan,
  sameData,
} from "./plan.ts";
import { session, tunnel } from "./testdata.ts";

/** A node as the plan believes that it behaves; refuses what the kernel would refuse. */
class ModelNode {
  readonly tunnels = new Map<string, Observed["tunnels"][number]>();
  readonly sessions = new Map<string, ObservedSession>();
  readonly links = new Map<string, ObservedLink>();
  /** Ends of veth pairs, both ways. */
  readonly pairs = new Map<string, string>();

  constructor({ tunnels, sessions, links }: Observed, pairs: Desired["pairs"]) {
    for (const item of tunnels) this.tunnels.set(item.name, item);
    for (const item of sessions) this.sessions.set(item.session.key, item);
    for (const item of links) this.links.set(item.id, item);
    for (const { port, pod } of pairs) {
      if (!this.links.has(port) || !this.links.has(pod)) continue;
      this.pairs.set(port, pod).set(pod, port);
    }
  }

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
        this.tunnels.set(action.tunnel.name, action.tunnel);
        return;
      case "deleteTunnel":
        for (const { session: s } of [...this.sessions.values()]) {
          if (s.tunnel === action.name) this.apply({ do: "deleteSession", key: s.key });
        }
        this.tunnels.delete(action.name);
        return;
      case "putSession":
        return this.#putSession(action);
      case "deleteSession":
        this.sessions.delete(action.key);
        return;
      case "createBridge":
        return this.#create(action.link);
      case "createPair":
        this.#create(action.port);
        this.#create(action.pod);
        this.pairs.set(action.port.id, action.pod.id).set(action.pod.id, action.port.id);
        return;
      case "deleteLink": {
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

  #loseDevice(link: string): void {
    const owner = parseLinkId(link);
    const item = this.sessions.get(owner?.key ?? "");
    if (owner?.kind !== "pseudowire" || item === undefined) return;
    this.sessions.set(owner.key, { ...item, deviceOpen: false });
  }

  #putSession(action: Action & { do: "putSession" }): void {
    if (!this.tunnels.has(action.session.tunnel)) throw new Error("no tunnel");
    for (const [key, other] of this.sessions) {
      if (other.session.sessionId === action.session.sessionId && key !== action.session.key) {
        this.sessions.set(key, { ...other, receiving: false });
      }
    }
    const { session: s, device } = action;
    this.sessions.set(s.key, { session: s, deviceOpen: device !== null, receiving: true });
    const id = linkId.pseudowire(s.key);
    const known = this.links.get(id);
    if (device === null) return;
    if (device === "keep") expect(known).toBeDefined();
    else if (known === undefined) this.#create({ ...bare(id, "pseudowire"), ...device });
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
        const { label, ...fields } = action.change;
        if (fields.name !== undefined) {
          if (link.up) throw new Error("EBUSY");
          this.#claim({ netns: link.netns, name: fields.name });
        }
        const lost = fields.up === false ? { routes: [] } : {};
        this.links.set(link.id, {
          ...link,
          ...lost,
          ...fields,
          labelled: label ?? link.labelled,
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
      labelled: false,
    });
  }

  #claim(at: Place): void {
    for (const link of this.links.values()) {
      if (sameData(place(link), place(at))) throw new Error(`EEXIST ${at.netns} ${at.name}`);
    }
  }
}

const place = ({ netns, name }: Place): Place => ({ netns, name });

function bare(id: string, kind: Link["kind"]): Link {
  return {
    id,
    kind,
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
  attachment: null | { pod: number; bridge: boolean; address: boolean };
}

const drawnSession: fc.Arbitrary<Drawn> = fc.record({
  tunnel: fc.integer({ min: 0, max: 1 }),
  sessionId: fc.integer({ min: 1, max: 4 }),
  mtu: fc.constantFrom(1400, 1500),
  attachment: fc.option(
    fc.record({
      pod: fc.integer({ min: 0, max: 2 }),
      bridge: fc.boolean(),
      address: fc.boolean(),
    }),
  ),
});
const drawnNode = fc.array(fc.option(drawnSession), { minLength: 4, maxLength: 4 });

/** What an agent would want of a node with these sessions; session ids and pods are kept unique. */
function desire(drawn: readonly (Drawn | null)[], port: number): Desired {
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
  const sessions = chosen.map(({ key, tunnel: number, sessionId, mtu, attachment }) => {
    const id = linkId.pseudowire(key);
    const base = { ...bare(id, "pseudowire"), mtu, name: `l2tp-${sessionId}` };
    const inPod = {
      netns: `pod${attachment?.pod}`,
      name: "net1",
      mac: "bb",
      up: true,
      addresses: attachment?.address ? ["10.0.0.1/24"] : [],
      routes: attachment?.address ? [{ destination: "0.0.0.0/0", gateway: "10.0.0.2" }] : [],
    };
    if (attachment === null) {
      // Nobody has attached: no device.
    } else if (!attachment.bridge) links.push({ ...base, ...inPod });
    else {
      const bridge = linkId.bridge(key);
      const portId = linkId.port(`c${attachment.pod}`);
      const podId = linkId.pod(`c${attachment.pod}`);
      links.push({ ...bare(bridge, "bridge"), name: `br-${sessionId}`, mtu, up: true, mac: null });
      links.push({ ...base, bridge, up: true });
      links.push({ ...bare(portId, "port"), name: `v${attachment.pod}`, bridge, mtu, up: true });
      links.push({ ...bare(podId, "pod"), ...inPod, mtu });
      pairs.push({ port: portId, pod: podId });
    }
    const wanted = session({ key, tunnel: `t${number}`, sessionId, mtu });
    return { session: wanted, link: attachment === null ? null : id };
  });
  const tunnels = [...new Set(chosen.map((item) => item.tunnel))].map((number) =>
    tunnel({ name: `t${number}`, tunnelId: number + 1, local: { address: "192.0.2.1", port } }),
  );
  return { tunnels, sessions, links, pairs };
}

const EMPTY: Observed = { tunnels: [], sessions: [], links: [] };

function converge(desired: Desired, node: ModelNode): void {
  for (const action of plan(desired, node.observe())) node.apply(action);
  expect(plan(desired, node.observe())).toEqual([]);
}

/** What hands and crashes do to a node. */
type Damage = "crash" | "deleteLink" | "down" | "mtu" | "unlabel" | "rename" | "dieNetns";
const damage = fc.record({
  kind: fc.constantFrom<Damage>(
    "crash",
    "deleteLink",
    "down",
    "mtu",
    "unlabel",
    "rename",
    "dieNetns",
  ),
  pick: fc.nat(),
});

function inflict(node: ModelNode, kind: Damage, pick: number): void {
  if (kind === "crash") {
    node.tunnels.clear();
    node.sessions.clear();
    return;
  }
  const links = [...node.links.values()];
  const link = links[pick % Math.max(1, links.length)];
  if (link === undefined) return;
  if (kind === "deleteLink" || (kind === "dieNetns" && link.netns !== null)) {
    const dead = kind === "dieNetns" ? links.filter(({ netns }) => netns === link.netns) : [link];
    for (const { id } of dead) node.apply({ do: "deleteLink", link: id, at: link });
  }
  if (kind === "down") node.links.set(link.id, { ...link, up: false, routes: [] });
  if (kind === "mtu") node.links.set(link.id, { ...link, mtu: 9999 });
  if (kind === "unlabel") node.links.set(link.id, { ...link, labelled: false });
  if (kind === "rename") node.links.set(link.id, { ...link, name: `hand${pick}` });
}

describe("plan", () => {
  it("reaches what is desired from anything, and then rests", () => {
    fc.assert(
      fc.property(drawnNode, drawnNode, fc.array(damage), (first, second, damages) => {
        const before = desire(first, 5000);
        const node = new ModelNode(EMPTY, []);
        converge(before, node);
        for (const { kind, pick } of damages) inflict(node, kind, pick);
        const after = desire(second, 5001);
        converge(after, node);
        expect([...node.sessions.keys()].sort()).toEqual(
          after.sessions.map(({ session: s }) => s.key).sort(),
        );
        expect([...node.tunnels.keys()].sort()).toEqual(after.tunnels.map((t) => t.name).sort());
        expect([...node.links.keys()].sort()).toEqual(after.links.map(({ id }) => id).sort());
        for (const wanted of after.links) {
          const { labelled, ...link } = node.links.get(wanted.id) ?? { labelled: false };
          expect(labelled).toBe(true);
          expect(link).toMatchObject({
            ...wanted,
            mac: wanted.mac ?? expect.anything(),
            addresses: expect.arrayContaining([...wanted.addresses]),
            routes: expect.arrayContaining([...wanted.routes]),
          });
        }
      }),
      { numRuns: 2000 },
    );
  });

  const inPod = { pod: 0, bridge: false, address: false };
  const one: Drawn = { tunnel: 0, sessionId: 1, mtu: 1500, attachment: inPod };

  it("changes only what must change", () => {
    const before = desire([one, null], 5000);
    const node = new ModelNode(EMPTY, []);
    converge(before, node);
    expect(plan(desire([{ ...one, mtu: 1400 }], 5000), node.observe())).toEqual([
      expect.objectContaining({ do: "putSession", device: "keep" }),
      expect.objectContaining({ do: "changeLink", change: { mtu: 1400 } }),
    ]);
    expect(plan(desire([one], 5001), node.observe())).toEqual([
      expect.objectContaining({ do: "putTunnel" }),
    ]);
    expect(
      plan(desire([one, { ...one, sessionId: 2, attachment: null }], 5000), node.observe()),
    ).toEqual([expect.objectContaining({ do: "putSession", device: null })]);
  });

  it("opens a device again where it stands, in the pod", () => {
    const attached = { ...one, attachment: { pod: 1, bridge: false, address: false } };
    const desired = desire([attached], 5000);
    const node = new ModelNode(EMPTY, []);
    converge(desired, node);
    inflict(node, "crash", 0);
    expect(plan(desired, node.observe())).toEqual([
      expect.objectContaining({ do: "putTunnel" }),
      expect.objectContaining({ do: "putSession", device: { netns: "pod1", name: "net1" } }),
    ]);
  });
});

it("reads back the ids that it writes", () => {
  expect(parseLinkId(linkId.pseudowire("a/b"))).toEqual({ kind: "pseudowire", key: "a/b" });
  expect(parseLinkId(linkId.pod("c1/net1"))).toEqual({ kind: "pod", key: "c1/net1" });
  for (const foreign of ["", "eth0", "l2tp:", "l2tp:x:y", "l2tp:session:"]) {
    expect(parseLinkId(foreign)).toBeUndefined();
  }
});
