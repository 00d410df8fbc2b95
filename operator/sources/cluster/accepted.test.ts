import { describe, expect, it } from "vitest";
import { API_VERSION, type Condition, type L2tpSession, type L2tpTunnel } from "../../api/types.ts";
import { AcceptedObjects } from "./accepted.ts";

const accepted = (observedGeneration: number, change: Partial<Condition> = {}): Condition => ({
  type: "Accepted",
  status: "True",
  reason: "Valid",
  message: "",
  observedGeneration,
  lastTransitionTime: "2026-01-01T00:00:00Z",
  ...change,
});

function tunnel(generation: number, condition: Condition, change: object = {}): L2tpTunnel {
  return {
    apiVersion: API_VERSION,
    kind: "L2tpTunnel",
    metadata: { name: "t", uid: "u", generation },
    spec: { nodeName: "n1", remote: { address: "198.51.100.7" }, peerTunnelId: 45 },
    status: { nodeName: "n1", nodeAddress: "192.0.2.1", tunnelId: 9, conditions: [condition] },
    ...change,
  };
}

const session = (condition: Condition): L2tpSession => ({
  apiVersion: API_VERSION,
  kind: "L2tpSession",
  metadata: { name: "s", namespace: "shop", uid: "v", generation: 1 },
  spec: { tunnelRef: { name: "t" }, peerSessionId: 2 },
  status: { nodeName: "n1", sessionId: 7, conditions: [condition] },
});

const contents = (objects: AcceptedObjects) =>
  objects.documents.map(({ content }) => content as L2tpTunnel);

describe("an accepted object", () => {
  it("has the allocated ID and the node's address", () => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    objects.take("L2tpSession", "shop/s", session(accepted(1)));
    const [given, inside] = contents(objects);
    expect(given?.spec).toMatchObject({ tunnelId: 9, local: { address: "192.0.2.1" } });
    expect(given).not.toHaveProperty("status");
    expect(inside?.spec).toMatchObject({ sessionId: 7 });
  });

  it("keeps an interface or address of its spec", () => {
    for (const local of [{ interface: "eth1" }, { address: "192.0.2.9", port: 5 }]) {
      const objects = new AcceptedObjects("n1");
      const asked = tunnel(1, accepted(1));
      objects.take("L2tpTunnel", "t", { ...asked, spec: { ...asked.spec, local } });
      expect(contents(objects)[0]?.spec.local).toEqual(local);
    }
  });

  it("stays while a change is pending, and while the change is invalid", () => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    objects.take("L2tpTunnel", "t", tunnel(2, accepted(1)));
    expect(contents(objects)[0]?.metadata.generation).toBe(1);
    const invalid = accepted(2, { status: "False", reason: "Invalid" });
    objects.take("L2tpTunnel", "t", tunnel(2, invalid));
    expect(contents(objects)[0]?.metadata.generation).toBe(1);
    objects.take("L2tpTunnel", "t", tunnel(3, accepted(3)));
    expect(contents(objects)[0]?.metadata.generation).toBe(3);
  });

  it.each([
    ["NoTunnel", "NotAccepted"],
    ["NamespaceNotAllowed", "NotAccepted"],
    ["Conflict", "NotAccepted"],
  ])("is removed when it is refused with %s", (reason, said) => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpSession", "shop/s", session(accepted(1)));
    objects.take("L2tpSession", "shop/s", session(accepted(1, { status: "False", reason })));
    expect(objects.documents).toEqual([]);
    expect(objects.withdrawn).toMatchObject([{ key: "shop/s", verdict: { reason: said } }]);
  });

  it("is removed when its deletion starts, and forgotten when it is deleted", () => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    const metadata = { name: "t", generation: 2, deletionTimestamp: "2026-01-01T00:00:00Z" };
    objects.take("L2tpTunnel", "t", tunnel(2, accepted(1), { metadata }));
    expect(objects.documents).toEqual([]);
    expect(objects.withdrawn).toMatchObject([{ generation: 2, verdict: { reason: "Removed" } }]);
    objects.take("L2tpTunnel", "t", undefined);
    expect(objects.withdrawn).toEqual([]);
  });

  it("is not programmed on another node that only its label names", () => {
    const objects = new AcceptedObjects("n2");
    objects.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    expect(objects.documents).toEqual([]);
  });

  it("is restored after a restart until the API server answers", () => {
    const before = new AcceptedObjects("n1");
    before.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    before.take("L2tpSession", "shop/s", session(accepted(1)));
    const objects = new AcceptedObjects("n1");
    objects.restore(JSON.parse(JSON.stringify(before.documents)));
    expect(contents(objects)).toEqual(contents(before));
    objects.prune((kind) => (kind === "L2tpTunnel" ? tunnel(1, accepted(1)) : undefined));
    expect(contents(objects).map(({ kind }) => kind)).toEqual(["L2tpTunnel"]);
  });

  it("is not inherited by another object of the same name", () => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpTunnel", "t", tunnel(1, accepted(1)));
    const metadata = { name: "t", uid: "another", generation: 1 };
    const invalid = accepted(1, { status: "False", reason: "Invalid" });
    objects.take("L2tpTunnel", "t", tunnel(1, invalid, { metadata }));
    expect(objects.documents).toEqual([]);
  });

  it("has the claims of its acceptance, also from a cache without claims", () => {
    const objects = new AcceptedObjects("n1");
    const given = session(accepted(1));
    const claims = ["session ID 7"];
    const status = { ...given.status, remoteEndId: "shop/s", claims };
    objects.take("L2tpSession", "shop/s", { ...given, status });
    const held = { claims, remoteEndId: "shop/s", id: 7, since: "2026-01-01T00:00:00Z" };
    expect(objects.held.sessions.get("shop/s")).toEqual(held);
    const restored = new AcceptedObjects("n1");
    restored.restore(JSON.parse(JSON.stringify(objects.documents)));
    expect(restored.held).toEqual(objects.held);
    const documents = objects.documents.map(({ held: _, ...document }) => document);
    restored.restore(documents);
    expect(restored.held.sessions.get("shop/s")).toEqual({
      claims: null,
      remoteEndId: "s",
      since: "",
    });
  });

  it("without claims in its status, holds all that it asks for, with its name as Remote End ID", () => {
    const objects = new AcceptedObjects("n1");
    objects.take("L2tpSession", "shop/s", session(accepted(1)));
    expect(objects.held.sessions.get("shop/s")).toMatchObject({ claims: null, remoteEndId: "s" });
    const { status } = session(accepted(1));
    const said = { ...session(accepted(1)), status: { ...status, claims: [], remoteEndId: "s" } };
    expect(objects.take("L2tpSession", "shop/s", said)).toBe(false);
    expect(objects.held.sessions.get("shop/s")?.claims).toEqual([]);
  });
});
