import { describe, expect, it } from "vitest";
import {
  allocateId,
  defaultRemoteEndId,
  type Held,
  holdAll,
  type SessionClaim,
  sessionClaims,
  settleSessions,
  settleTunnels,
  tunnelClaims,
} from "./conflicts.ts";
import { tunnel, tunnelControl } from "./testdata.ts";

describe("settleTunnels", () => {
  it("lets tunnels share a local port", () => {
    const tunnels = [
      tunnel({ name: "a", tunnelId: 1, remote: { address: "192.0.2.2", port: 5000 } }),
      tunnel({ name: "b", tunnelId: 2, remote: { address: "192.0.2.3", port: 5000 } }),
    ];
    expect(settleTunnels(tunnels, new Map()).accepted).toHaveLength(2);
  });

  it("assigns a tunnel ID to its holder", () => {
    const tunnels = [tunnel({ name: "a", tunnelId: 1 }), tunnel({ name: "b", tunnelId: 1 })];
    const { accepted, refused } = settleTunnels(tunnels, holdAll(["b"]));
    expect(accepted.map(({ name }) => name)).toEqual(["b"]);
    expect(refused.get("a")).toMatchObject({ path: "spec.tunnelId", value: 1 });
  });

  it("permits one control connection per peer, also to a backup", () => {
    const to = (address: string) => ({ address, port: 1701 });
    const tunnels = [
      tunnel({ name: "a", tunnelId: 1, remote: to("192.0.2.2"), control: tunnelControl() }),
      tunnel({
        name: "b",
        tunnelId: 2,
        remote: to("192.0.2.3"),
        control: tunnelControl({ backups: [to("192.0.2.4"), to("192.0.2.2")] }),
      }),
    ];
    expect(settleTunnels(tunnels, new Map()).refused.get("b")).toMatchObject({
      path: "spec.backup[1]",
      reason: "L2tpTunnel a already has a control connection between 192.0.2.1 and 192.0.2.2",
    });
    expect(settleTunnels(tunnels, holdAll(["b"])).refused.get("a")?.path).toBe("spec.control");
  });

  it("refuses a second tunnel between the same addresses and ports, but not over IP", () => {
    const pair = (encapsulation: "UDP" | "IP") => [
      tunnel({ name: "a", tunnelId: 1, encapsulation }),
      tunnel({ name: "b", tunnelId: 2, encapsulation }),
    ];
    expect([...settleTunnels(pair("UDP"), new Map()).refused.keys()]).toEqual(["b"]);
    expect(settleTunnels(pair("IP"), new Map()).refused.size).toBe(0);
  });
});

describe("keyed tunnels", () => {
  const keyed = (name: string, local: string, tunnelId: number) =>
    tunnel({
      ...{ name, tunnelId, encapsulation: "IP", keyed: true },
      local: { address: local, port: 0 },
      remote: { address: "2001:db8::2", port: 0 },
    });

  it("cannot have the pair of addresses of another keyed tunnel", () => {
    const one = keyed("a", "2001:db8:1::1", 1);
    const same = keyed("b", "2001:db8:1::1", 2);
    const other = keyed("c", "2001:db8:1::2", 3);
    const { accepted, refused } = settleTunnels([one, same, other], new Map());
    expect(accepted.map(({ name }) => name)).toEqual(["a", "c"]);
    expect(refused.get("b")).toMatchObject({
      path: "spec.local.address",
      reason: "keyed L2tpTunnel a uses it with remote address 2001:db8::2",
    });
    expect([...settleTunnels([one, same], holdAll(["b"])).refused.keys()]).toEqual(["a"]);
  });

  it("have one session each, with any ID", () => {
    const inTunnel = (key: string, name: string): SessionClaim => ({
      ...{ key, tunnel: name, sessionId: 0xffff_ffff, isKeyed: true, circuit: null },
    });
    const sessions = [inTunnel("a/one", "t"), inTunnel("a/two", "u"), inTunnel("b/three", "t")];
    const ordinary: SessionClaim = {
      ...{ key: "b/plain", tunnel: "v", sessionId: 0xffff_ffff, circuit: null },
    };
    const { refused } = settleSessions([...sessions, ordinary], new Map());
    expect([...refused.keys()]).toEqual(["b/three"]);
    expect(refused.get("b/three")?.reason).toBe(
      "L2tpSession a/one uses this tunnel, and a keyed tunnel has only one session",
    );
  });
});

describe("settleSessions", () => {
  const peer = { address: "192.0.2.2", port: 1701 };
  let next = 100;
  const claim = (key: string, change: Partial<SessionClaim> = {}): SessionClaim => ({
    key,
    tunnel: "t1",
    sessionId: next++,
    circuit: { remoteEndId: defaultRemoteEndId(key) },
    ...change,
  });
  const named = (key: string, remoteEndId: string, change: Partial<SessionClaim> = {}) =>
    claim(key, { circuit: { remoteEndId }, ...change });
  const refusedOf = (sessions: readonly SessionClaim[], held = new Map<string, Held>()) => [
    ...settleSessions(sessions, held).refused.keys(),
  ];
  const since = (claims: Held["claims"], day: number): Held => ({
    claims,
    since: `2026-01-0${day}T00:00:00Z`,
  });

  it("refuses a second session with the same ID in any tunnel", () => {
    const sessions = [
      claim("x/b", { tunnel: "t2", sessionId: 7 }),
      claim("x/a", { sessionId: 7 }),
      claim("x/c", { sessionId: 8 }),
    ];
    const { accepted, refused } = settleSessions(sessions, new Map());
    expect(accepted.map(({ key }) => key)).toEqual(["x/a", "x/c"]);
    expect(refused.get("x/b")?.reason).toContain("x/a");
  });

  it("assigns a circuit of a managed tunnel to one session, and names the holder", () => {
    const sessions = [named("a/lan", "lan"), named("b/lan", "lan"), named("b/wan", "wan")];
    const { refused } = settleSessions(sessions, new Map());
    expect([...refused.keys()]).toEqual(["b/lan"]);
    expect(refused.get("b/lan")).toMatchObject({
      path: "spec.remoteEndId",
      value: "lan",
      reason: "already used by L2tpSession a/lan in L2tpTunnel t1",
    });
    const octets = settleSessions(
      [named("a/lan", "\u0000*"), named("b/lan", "\u0000*")],
      new Map(),
    );
    expect(octets.refused.get("b/lan")).toMatchObject({
      path: "spec.remoteEndIdOctets",
      value: "002a",
    });
    const apart = [named("a/lan", "lan"), named("b/lan", "lan", { tunnel: "t2" })];
    expect(refusedOf(apart)).toEqual([]);
  });

  it("assigns a circuit to the session that was accepted first, whatever its name", () => {
    const [early, late] = [named("z/lan", "lan"), named("a/lan", "lan")];
    const held = new Map([
      ["z/lan", since(null, 1)],
      ["a/lan", since(null, 2)],
    ]);
    expect(refusedOf([late, early], held)).toEqual(["a/lan"]);
  });

  it("keeps a circuit with a holder that is changed, unless it no longer asks for the circuit", () => {
    const holder = named("z/lan", "lan");
    const held = new Map([["z/lan", since(sessionClaims(holder), 1)]]);
    const changed = { ...holder, sessionId: 1 };
    expect(refusedOf([named("a/lan", "lan"), changed], held)).toEqual(["a/lan"]);
    const gone = named("z/lan", "another");
    expect(refusedOf([named("a/lan", "lan"), gone], held)).toEqual([]);
    const moved = named("z/lan", "lan", { tunnel: "t2" });
    expect(refusedOf([named("a/lan", "lan"), moved], held)).toEqual([]);
  });

  it("assigns no new claim to a holder by precedence: neither by a change nor in another tunnel", () => {
    const [ours, theirs] = [named("z/lan", "lan"), named("a/x", "x")];
    const held = new Map([
      ["z/lan", since(sessionClaims(ours), 2)],
      ["a/x", since(sessionClaims(theirs), 1)],
    ]);
    expect(refusedOf([named("a/x", "lan"), ours], held)).toEqual(["a/x"]);
    const elsewhere = new Map(held).set(
      "a/x",
      since(sessionClaims(named("a/x", "lan", { tunnel: "t2" })), 1),
    );
    expect(refusedOf([named("a/x", "lan"), ours], elsewhere)).toEqual(["a/x"]);
  });

  it("keeps a circuit for an invalid holder", () => {
    const held = new Map([["z/lan", since(sessionClaims(named("z/lan", "lan")), 1)]]);
    expect(refusedOf([named("a/lan", "lan")], held)).toEqual(["a/lan"]);
    const nothing = new Map([["z/lan", since([], 1)]]);
    expect(refusedOf([named("a/lan", "lan")], nothing)).toEqual([]);
  });

  it("refuses a session that sends to the circuit of another namespace", () => {
    const static_ = (key: string, peerSessionId: number, change: object = {}) =>
      claim(key, { circuit: { peerSessionId, peer: { ...peer, ...change } } });
    expect(refusedOf([static_("a/lan", 5), static_("b/lan", 5)])).toEqual(["b/lan"]);
    // This applies to any tunnel.
    const other = { ...static_("b/lan", 5), tunnel: "t2" };
    expect(refusedOf([static_("a/lan", 5), other])).toEqual(["b/lan"]);
    expect(refusedOf([static_("a/lan", 5), static_("b/lan", 6)])).toEqual([]);
    expect(refusedOf([static_("a/lan", 5), static_("b/lan", 5, { port: 1702 })])).toEqual([]);
    expect(refusedOf([static_("a/lan", 5), static_("a/wan", 5), static_("b/x", 5)])).toEqual([
      "b/x",
    ]);
  });

  it("keeps a circuit with its holder while the tunnel is unknown", () => {
    const holder = named("z/lan", "lan");
    const claims = sessionClaims(holder);
    const unclear = { ...holder, circuit: null, kept: claims.slice(1) };
    expect(sessionClaims(unclear)).toEqual(claims);
    const held = new Map([["z/lan", since(claims, 1)]]);
    expect(refusedOf([named("a/lan", "lan"), unclear], held)).toEqual(["a/lan"]);
  });

  it("has different claims for names of two namespaces, and for names with special characters", () => {
    const quoted = [named("a/x", 'lan" in L2tpTunnel t2'), named("b/x", "lan", { tunnel: "t2" })];
    expect(new Set(quoted.flatMap((session) => sessionClaims(session).slice(1))).size).toBe(2);
    expect(refusedOf([claim("a/lan"), claim("b/lan")])).toEqual([]);
  });
});

it("keeps endpoints with their holder while it is changed or invalid", () => {
  const holder = tunnel({ name: "z", tunnelId: 1 });
  const held = new Map([["z", { claims: tunnelClaims(holder), since: "2026-01-01T00:00:00Z" }]]);
  const other = tunnel({ name: "a", tunnelId: 2 });
  for (const there of [[{ ...holder, tunnelId: 3 }], []]) {
    expect([...settleTunnels([other, ...there], held).refused.keys()]).toEqual(["a"]);
  }
});

it("allocates the same ID for the same name, and skips used IDs", () => {
  const first = allocateId("shop/lan", new Set());
  expect(allocateId("shop/lan", new Set())).toBe(first);
  expect(allocateId("shop/lan", new Set([first, first + 1]))).toBe(first + 2);
  expect(first).toBeGreaterThan(0);
});
