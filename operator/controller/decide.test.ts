import { describe, expect, it } from "vitest";
import {
  API_VERSION,
  type Condition,
  conditionOf,
  type L2tpObject,
  type L2tpSession,
  type L2tpTunnel,
} from "../api/types.ts";
import { type Decision, decideNode, decideOrphan, homeOf, type NodeView } from "./decide.ts";

const accepted: Condition = {
  type: "Accepted",
  status: "True",
  reason: "Valid",
  message: "",
  observedGeneration: 1,
  lastTransitionTime: "2026-01-01T00:00:00Z",
};

function tunnel(name: string, spec: object = {}, rest: Partial<L2tpTunnel> = {}): L2tpTunnel {
  return {
    apiVersion: API_VERSION,
    kind: "L2tpTunnel",
    metadata: { name, uid: `uid-${name}`, generation: 1 },
    spec: { nodeName: "n1", remote: { address: "198.51.100.7" }, peerTunnelId: 45, ...spec },
    ...rest,
  };
}

function session(name: string, spec: object = {}, rest: Partial<L2tpSession> = {}): L2tpSession {
  return {
    apiVersion: API_VERSION,
    kind: "L2tpSession",
    metadata: { name, namespace: "shop", uid: `uid-${name}`, generation: 1 },
    spec: { tunnelRef: { name: "t" }, peerSessionId: 2, ...spec },
    ...rest,
  };
}

function decide(change: Partial<NodeView>): Map<string, Decision> {
  let next = 1000;
  const decisions = decideNode({
    nodeName: "n1",
    nodeAddresses: ["192.0.2.1", "2001:db8::1"],
    tunnels: [],
    sessions: [],
    namespaceLabels: () => ({}),
    defaultNamespaces: "All",
    allocate: (_object: L2tpObject, taken) => {
      while (taken.has(next)) next++;
      return next;
    },
    ...change,
  });
  return new Map(decisions.map((decision) => [decision.object.metadata.name, decision]));
}

/** The object after the decision has been written. */
function decided<T extends L2tpObject>(object: T, decision: Decision | undefined): T {
  const { refusal, nodeName, id, remoteEndId, claims } = decision as Decision;
  expect(refusal).toBeNull();
  const ids = object.kind === "L2tpTunnel" ? { tunnelId: id } : { sessionId: id, remoteEndId };
  const conditions = [{ ...accepted, observedGeneration: object.metadata.generation }];
  return { ...object, status: { nodeName, ...ids, claims, conditions } } as T;
}

/** The object after a change of its spec that the controller has not seen. */
function changed<T extends L2tpObject>(object: T, spec: object): T {
  const generation = (object.metadata.generation ?? 0) + 1;
  return {
    ...object,
    metadata: { ...object.metadata, generation },
    spec: { ...object.spec, ...spec },
  };
}

const reasonOf = (decision: Decision | undefined) => decision?.refusal?.reason;

it("accepts equal session IDs in keyed tunnels, but only one keyed tunnel for a pair of addresses", () => {
  const keyed = { keyed: true, encapsulation: "IP", peerTunnelId: undefined };
  const ends = (host: number) => ({
    local: { address: `2001:db8:1::${host}`, prefix: "2001:db8:1::/64" },
    remote: { address: "2001:db8:2::1" },
  });
  const inTunnel = (name: string, tunnelName: string) =>
    session(name, { tunnelRef: { name: tunnelName }, sessionId: 7, peerSessionId: 7 });
  const decisions = decide({
    tunnels: [
      tunnel("k1", { ...keyed, ...ends(1) }),
      tunnel("k2", { ...keyed, ...ends(2) }),
      tunnel("k3", { ...keyed, ...ends(2) }),
    ],
    sessions: [inTunnel("one", "k1"), inTunnel("two", "k2"), inTunnel("too-many", "k2")],
  });
  for (const name of ["k1", "k2", "one"]) expect(decisions.get(name)?.refusal).toBeNull();
  expect(decisions.get("one")?.id).toBe(7);
  expect(reasonOf(decisions.get("k3"))).toBe("Conflict");
  // The first of the two by name is accepted.
  expect(decisions.get("too-many")?.refusal).toBeNull();
  expect(reasonOf(decisions.get("two"))).toBe("Conflict");
});

describe("tunnels", () => {
  it("get the configured ID, or an unused one", () => {
    const decisions = decide({
      tunnels: [
        tunnel("t", { tunnelId: 1000 }),
        tunnel("u", { remote: { address: "198.51.100.8" } }),
      ],
    });
    expect(decisions.get("t")).toMatchObject({ refusal: null, id: 1000 });
    expect(decisions.get("u")).toMatchObject({ refusal: null, id: 1001 });
  });

  it("keep the ID of their status", () => {
    const known = tunnel("t", {}, { status: { tunnelId: 7, nodeName: "n1" } });
    expect(decide({ tunnels: [known] }).get("t")?.id).toBe(7);
  });

  it("use the node's address of the remote's family", () => {
    const six = tunnel("t", { remote: { address: "2001:db8::7" } });
    expect(decide({ tunnels: [six] }).get("t")?.nodeAddress).toBe("2001:db8::1");
    expect(decide({ tunnels: [tunnel("t")] }).get("t")?.nodeAddress).toBe("192.0.2.1");
    const none = decide({ tunnels: [six], nodeAddresses: ["192.0.2.1"] });
    expect(none.get("t")).toMatchObject({ refusal: null, nodeAddress: null });
  });

  it("require an existing node, and cannot change it", () => {
    expect(reasonOf(decide({ tunnels: [tunnel("t")], nodeAddresses: null }).get("t"))).toBe(
      "NoNode",
    );
    const moved = tunnel("t", { nodeName: "n2" }, { status: { nodeName: "n1" } });
    expect(homeOf(moved)).toBe("n1");
    expect(reasonOf(decide({ tunnels: [moved] }).get("t"))).toBe("NodeImmutable");
  });

  it("are refused if invalid, and then claim nothing", () => {
    const bad = tunnel("bad", { remote: { address: "224.0.0.1" } });
    const decisions = decide({ tunnels: [bad, tunnel("good")] });
    expect(decisions.get("bad")).toMatchObject({ id: null, refusal: { reason: "Invalid" } });
    expect(decisions.get("good")?.refusal).toBeNull();
  });

  it.each([
    ["the same id", { tunnelId: 5, remote: { address: "198.51.100.8" } }],
    ["the same ends", {}],
    ["the same ends, one of them given", { local: { address: "192.0.2.1" } }],
  ])("cannot have %s as an accepted tunnel", (_name, spec) => {
    const first = tunnel("z", { tunnelId: 5 }, { status: { tunnelId: 5, conditions: [accepted] } });
    const decisions = decide({ tunnels: [tunnel("a", spec), first] });
    expect(decisions.get("z")?.refusal).toBeNull();
    expect(reasonOf(decisions.get("a"))).toBe("Conflict");
  });

  it("can share an interface if their ports differ", () => {
    const at = (port: number) => ({ local: { interface: "eth1", port } });
    const decisions = decide({ tunnels: [tunnel("a", at(1)), tunnel("b", at(2))] });
    expect([...decisions.values()].map(reasonOf)).toEqual([undefined, undefined]);
  });
});

describe("sessions", () => {
  const tunnels = [tunnel("t")];

  it("get an ID that is unique on the node", () => {
    const decisions = decide({
      tunnels,
      sessions: [session("a", { sessionId: 1000 }), session("b")],
    });
    expect(decisions.get("a")).toMatchObject({ refusal: null, id: 1000 });
    expect(decisions.get("b")).toMatchObject({ refusal: null, id: 1001 });
  });

  it("cannot have the ID of another session", () => {
    const sessions = [session("a", { sessionId: 9 }), session("b", { sessionId: 9 })];
    const decisions = decide({ tunnels, sessions });
    expect(reasonOf(decisions.get("a"))).toBeUndefined();
    expect(reasonOf(decisions.get("b"))).toBe("Conflict");
  });

  it("cannot get the ID of another session by a change", () => {
    const holder = session(
      "z",
      { sessionId: 9 },
      { status: { sessionId: 9, conditions: [accepted] } },
    );
    const taker = session(
      "a",
      { sessionId: 9 },
      {
        metadata: { name: "a", namespace: "other", uid: "uid-a", generation: 2 },
        status: { sessionId: 5, conditions: [accepted] },
      },
    );
    const decisions = decide({ tunnels, sessions: [taker, holder] });
    expect(reasonOf(decisions.get("z"))).toBeUndefined();
    expect(reasonOf(decisions.get("a"))).toBe("Conflict");
  });

  it("are allowed by the labels of their namespace", () => {
    const selector = { matchLabels: { circuit: "yes" } };
    const closed = [tunnel("t", { allowedNamespaces: { from: "Selector", selector } })];
    const sessions = [session("a")];
    const refused = decide({ tunnels: closed, sessions });
    expect(reasonOf(refused.get("a"))).toBe("NamespaceNotAllowed");
    const namespaceLabels = () => ({ circuit: "yes", more: "too" });
    expect(
      reasonOf(decide({ tunnels: closed, sessions, namespaceLabels }).get("a")),
    ).toBeUndefined();
    // A namespace that does not exist has no labels.
    const unknown = decide({ tunnels: closed, sessions, namespaceLabels: () => undefined });
    expect(reasonOf(unknown.get("a"))).toBe("NamespaceNotAllowed");
  });

  it("are allowed by the cluster's default if the tunnel has no allowedNamespaces", () => {
    const sessions = [session("a")];
    expect(reasonOf(decide({ tunnels, sessions }).get("a"))).toBeUndefined();
    const closed = decide({ tunnels, sessions, defaultNamespaces: "None" });
    expect(reasonOf(closed.get("a"))).toBe("NamespaceNotAllowed");
    // API servers have written the previous default into older tunnels.
    const before = [tunnel("t", { allowedNamespaces: { from: "All" } })];
    const open = decide({ tunnels: before, sessions, defaultNamespaces: "None" });
    expect(reasonOf(open.get("a"))).toBeUndefined();
  });

  it("are refused while their tunnel is being deleted", () => {
    const leaving = tunnel(
      "t",
      {},
      {
        metadata: { name: "t", deletionTimestamp: "2026-01-01T00:00:00Z" },
      },
    );
    expect(reasonOf(decide({ tunnels: [leaving], sessions: [session("a")] }).get("a"))).toBe(
      "NoTunnel",
    );
  });

  it("are accepted while a change of their tunnel is refused", () => {
    const bad = [tunnel("t", { remote: { address: "224.0.0.1" } })];
    expect(reasonOf(decide({ tunnels: bad, sessions: [session("a")] }).get("a"))).toBeUndefined();
  });

  it("without a tunnel report their own faults first", () => {
    expect(decideOrphan(session("a")).refusal?.reason).toBe("NoTunnel");
    const bad = session("a", { sequencing: { reorderTimeout: "50ms" } });
    expect(decideOrphan(bad).refusal?.reason).toBe("Invalid");
  });
});

describe("circuits of managed tunnels", () => {
  const managed = tunnel("t", { control: {}, peerTunnelId: undefined });
  const open = (name: string, spec: object = {}, rest: Partial<L2tpSession> = {}) =>
    session(name, { peerSessionId: undefined, ...spec }, rest);
  const wish = { remoteEndId: "42" };
  const first = (spec: object = wish) => {
    const object = open("z", spec);
    return decided(object, decide({ tunnels: [managed], sessions: [object] }).get("z"));
  };
  const reasons = (sessions: readonly L2tpSession[], tunnels = [managed]) => {
    const decisions = decide({ tunnels, sessions });
    return sessions.map(({ metadata: { name } }) => reasonOf(decisions.get(name)));
  };

  it("are named by namespace and name, and keep that name", () => {
    const holder = first({});
    expect(holder.status?.remoteEndId).toBe("shop/z");
    expect(holder.status?.claims).toContain('Remote End ID "shop/z" in L2tpTunnel t');
    const moved = changed(holder, { tunnelRef: { name: "u" } });
    const other = tunnel("u", { ...managed.spec, remote: { address: "198.51.100.8" } });
    const decisions = decide({ tunnels: [managed, other], sessions: [moved] });
    expect(decisions.get("z")).toMatchObject({ refusal: null, remoteEndId: "shop/z" });
  });

  it("can be named by octets", () => {
    const holder = first({ remoteEndIdOctets: "002a" });
    expect(holder.status?.claims).toContain("Remote End ID 0x002a in L2tpTunnel t");
    const status = { nodeName: "n1", sessionId: 7, remoteEndIdOctets: "002a", claims: [] };
    const known = open("z", {}, { status: { ...status, conditions: [accepted] } });
    const decisions = decide({ tunnels: [managed], sessions: [known] });
    expect(decisions.get("z")).toMatchObject({ refusal: null, remoteEndId: "\u0000*" });
  });

  it("keep the short name of an earlier release", () => {
    const status = { nodeName: "n1", sessionId: 7, conditions: [accepted] };
    const decisions = decide({ tunnels: [managed], sessions: [open("z", {}, { status })] });
    expect(decisions.get("z")).toMatchObject({ refusal: null, remoteEndId: "z" });
  });

  it("belong to the session that was accepted first, regardless of its name", () => {
    expect(reasons([open("a", wish), first()])).toEqual(["Conflict", undefined]);
  });

  it("stay with the holder while other fields change", () => {
    const sessions = [open("a", wish), changed(first(), { mtu: 1400 })];
    expect(reasons(sessions)).toEqual(["Conflict", undefined]);
  });

  it("stay with the holder while it is invalid, because its previous version runs", () => {
    const invalid = changed(first(), { sequencing: { reorderTimeout: "50ms" } });
    expect(reasons([open("a", wish), invalid])).toEqual(["Conflict", "Invalid"]);
  });

  it("stay with the holder while its tunnel is invalid", () => {
    const broken = changed(managed, { control: undefined });
    expect(reasonOf(decide({ tunnels: [broken] }).get("t"))).toBe("Invalid");
    const decisions = decide({ tunnels: [broken], sessions: [first(), open("a", wish)] });
    const holder = decided(first(), decisions.get("z"));
    const late = decided(open("a", wish), decisions.get("a"));
    expect(holder.status?.claims).toEqual(first().status?.claims);
    expect(reasons([late, holder])).toEqual(["Conflict", undefined]);
  });

  it("stay with the holder while it is being deleted", () => {
    const holder = first();
    const deletionTimestamp = "2026-01-01T00:00:00Z";
    const leaving = { ...holder, metadata: { ...holder.metadata, deletionTimestamp } };
    expect(reasons([open("a", wish), leaving])[0]).toBe("Conflict");
  });

  it("cannot be claimed by a change while the holder changes, too", () => {
    const other = open("a", { remoteEndId: "43", sessionId: 5 });
    const taker = changed(
      decided(other, decide({ tunnels: [managed], sessions: [other] }).get("a")),
      wish,
    );
    expect(reasons([taker, changed(first(), { mtu: 1400 })])).toEqual(["Conflict", undefined]);
  });

  const closed = tunnel("t", { ...managed.spec, allowedNamespaces: { from: "None" } });
  /** The object after a refusal has been written. */
  const refusedAs = (object: L2tpSession, decision: Decision | undefined): L2tpSession => {
    const condition: Condition = {
      ...{ ...accepted, status: "False", reason: reasonOf(decision) ?? "" },
      observedGeneration: object.metadata.generation ?? 0,
    };
    const { claims } = decision ?? {};
    return {
      ...object,
      status: { ...object.status, ...(claims && { claims: [...claims] }), conditions: [condition] },
    };
  };

  it("return to the holder when its tunnel allows its namespace again", () => {
    const lost = refusedAs(first(), decide({ tunnels: [closed], sessions: [first()] }).get("z"));
    expect(conditionOf(lost, "Accepted")?.reason).toBe("NamespaceNotAllowed");
    expect(reasons([open("a", wish), lost])).toEqual(["Conflict", undefined]);
    const orphan = refusedAs(first(), decideOrphan(first()));
    expect(conditionOf(orphan, "Accepted")?.reason).toBe("NoTunnel");
    expect(reasons([open("a", wish), orphan])).toEqual(["Conflict", undefined]);
  });

  it("are lost to a session that was accepted while the holder was refused", () => {
    const matchLabels = { open: "yes" };
    const picky = tunnel("t", {
      ...managed.spec,
      allowedNamespaces: { selector: { matchLabels } },
    });
    const metadata = { name: "a", namespace: "bakery", uid: "uid-a", generation: 1 };
    const next = open("a", wish, { metadata });
    const namespaceLabels = (name: string) => (name === "bakery" ? matchLabels : {});
    const decisions = decide({ tunnels: [picky], sessions: [next, first()], namespaceLabels });
    const holder = decided(next, decisions.get("a"));
    const lost = refusedAs(first(), decisions.get("z"));
    expect(lost.status?.claims).toEqual([expect.stringContaining("session ID")]);
    expect(reasons([holder, lost])).toEqual([undefined, "Conflict"]);
    // A temporary invalid change does not restore the claim.
    const invalid = changed(lost, { sequencing: { reorderTimeout: "50ms" } });
    expect(reasons([holder, invalid])).toEqual([undefined, "Invalid"]);
    const again = decide({ tunnels: [managed], sessions: [holder, lost] }).get("z");
    expect(refusedAs(lost, again).status?.claims).toEqual([]);
  });

  it("stay with a holder of an earlier release that changes while the controller is replaced", () => {
    const status = { nodeName: "n1", sessionId: 7, conditions: [accepted] };
    const sessions = [open("a", wish), changed(open("z", wish, { status }), { mtu: 1400 })];
    expect(reasons(sessions)).toEqual(["Conflict", undefined]);
  });

  it("stay with the first of two sessions that an earlier release accepted", () => {
    const at = (name: string, lastTransitionTime: string) =>
      open(name, wish, {
        status: {
          nodeName: "n1",
          sessionId: 7 + name.length,
          conditions: [{ ...accepted, lastTransitionTime }],
        },
      });
    const sessions = [at("a", "2026-01-03T00:00:00Z"), at("zz", "2026-01-02T00:00:00Z")];
    expect(reasons(sessions)).toEqual(["Conflict", undefined]);
  });
});

it("refuses a peer session ID that a session of another namespace has", () => {
  const [first, second] = [
    session("z"),
    session(
      "a",
      {},
      {
        metadata: { name: "a", namespace: "bakery", uid: "uid-a", generation: 1 },
      },
    ),
  ];
  const tunnels = [tunnel("t")];
  const holder = decided(first, decide({ tunnels, sessions: [first] }).get("z"));
  const decisions = decide({ tunnels, sessions: [second, holder] });
  expect(reasonOf(decisions.get("a"))).toBe("Conflict");
  expect(decisions.get("a")?.refusal?.message).toContain("spec.peerSessionId: 2");
  expect(reasonOf(decisions.get("z"))).toBeUndefined();
});

describe("endpoints of tunnels", () => {
  it("stay with the holder while it changes or is invalid", () => {
    const object = tunnel("z");
    const holder = decided(object, decide({ tunnels: [object] }).get("z"));
    for (const spec of [{ udpChecksum: false }, { remote: { address: "224.0.0.1" } }]) {
      const decisions = decide({ tunnels: [tunnel("a"), changed(holder, spec)] });
      expect(reasonOf(decisions.get("a"))).toBe("Conflict");
    }
  });

  it("belong to one control connection, also over IP and as a backup", () => {
    const control = { control: {}, peerTunnelId: undefined, encapsulation: "IP" };
    const backup = {
      ...control,
      remote: { address: "198.51.100.8" },
      backup: [{ address: "198.51.100.7" }],
    };
    const decisions = decide({ tunnels: [tunnel("a", control), tunnel("b", backup)] });
    expect(reasonOf(decisions.get("a"))).toBeUndefined();
    expect(decisions.get("b")?.refusal?.message).toContain("spec.backup[0]");
  });
});

describe("interfaces of the node", () => {
  const asks = (name: string, namespace = "shop") =>
    session(
      name,
      { attachment: { mode: "Interface", interface: "eth1" }, peerSessionId: 7 },
      { metadata: { name, namespace, uid: `uid-${name}`, generation: 1 } },
    );
  const refusals = (allowedInterfaces: string[] | undefined, ...sessions: L2tpSession[]) => {
    const decisions = decide({ tunnels: [tunnel("t", { allowedInterfaces })], sessions });
    return sessions.map(({ metadata }) => decisions.get(metadata.name)?.refusal?.reason ?? null);
  };

  it("are accepted only if the tunnel allows them", () => {
    expect(refusals(undefined, asks("lan"))).toEqual(["InterfaceNotAllowed"]);
    expect(refusals(["eth0"], asks("lan"))).toEqual(["InterfaceNotAllowed"]);
    expect(refusals(["eth*"], asks("lan"))).toEqual([null]);
  });

  it("are accepted for one namespace only", () => {
    expect(refusals(["*"], asks("b"), asks("a", "other"))).toEqual(["Conflict", null]);
    const first = decided(
      asks("b"),
      decide({ tunnels: [tunnel("t", { allowedInterfaces: ["*"] })], sessions: [asks("b")] }).get(
        "b",
      ),
    );
    expect(first.status?.claims).toContain("node interface eth1");
    expect(refusals(["*"], first, asks("a", "other"))).toEqual([null, "Conflict"]);
  });
});
