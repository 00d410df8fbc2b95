/** The controller's decisions on an API server: decisions are read back from the status, and stay. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  conditionOf,
  type L2tpSession,
  type L2tpTunnel,
  SESSIONS,
  TUNNELS,
} from "../../operator/api/types.ts";
import { type Decision, decideNode } from "../../operator/controller/decide.ts";
import { Ids } from "../../operator/controller/ids.ts";
import { type Writer, writeDecision } from "../../operator/controller/write.ts";
import { EventRecorder } from "../../operator/kube/events.ts";
import { collectionPath, objectPath } from "../../operator/kube/object.ts";
import { PendingApplies } from "../../operator/kube/pending-applies.ts";
import { CrdServer } from "../harness/crd-server.ts";

interface List<T> {
  readonly items: readonly T[];
}

let server: CrdServer;
let closed: ReadonlySet<string>;
let count = 0;
let tunnel = "";

beforeAll(async () => {
  server = await CrdServer.start();
});

afterAll(() => server.stop());

beforeEach(async () => {
  closed = new Set();
  tunnel = `t${count++}`;
  const remote = { address: `198.51.100.${count}` };
  await apply("L2tpTunnel", { nodeName: "n1", remote, control: {} });
});

async function apply(kind: "L2tpTunnel" | "L2tpSession", spec: object, namespace?: string) {
  const resource = kind === "L2tpTunnel" ? TUNNELS : SESSIONS;
  const name = kind === "L2tpTunnel" ? tunnel : `lan-${tunnel}`;
  const metadata = { name, ...(namespace && { namespace }) };
  const body = { apiVersion: "l2tp.dev/v1alpha1", kind, metadata, spec };
  await server.client.apply(objectPath(resource, name, namespace), body, "user");
}

const session = (namespace: string, spec: object = {}) =>
  apply("L2tpSession", { tunnelRef: { name: tunnel }, ...spec }, namespace);

/** One reconcile of a controller that has just started. */
async function pass(): Promise<void> {
  const { client } = server;
  const [tunnels, sessions] = await Promise.all([
    client.get<List<L2tpTunnel>>(collectionPath(TUNNELS)),
    client.get<List<L2tpSession>>(collectionPath(SESSIONS)),
  ]);
  const ids = new Ids();
  const kinds = { apiVersion: TUNNELS.apiVersion };
  const decisions = decideNode({
    nodeName: "n1",
    nodeAddresses: ["192.0.2.1"],
    tunnels: tunnels.items.map((item) => ({ ...item, ...kinds, kind: "L2tpTunnel" }) as L2tpTunnel),
    sessions: sessions.items.map(
      (item) => ({ ...item, ...kinds, kind: "L2tpSession" }) as L2tpSession,
    ),
    namespaceLabels: (name) => (closed.has(name) ? {} : { open: "yes" }),
    defaultNamespaces: "All",
    allocate: ({ metadata: { uid = "" } }, taken) => ids.allocate(uid, taken),
  });
  // The test's API server has no Events.
  const events = new EventRecorder(client, "test", "n1", () => {});
  const writer: Writer = { client, pending: new PendingApplies(), events, now: () => new Date() };
  for (const decision of decisions) await write(writer, decision);
}

async function write(writer: Writer, decision: Decision): Promise<void> {
  const counts = { total: 0, programmed: 0, attached: 0 };
  await writeDecision(writer, decision, decision.object.kind === "L2tpTunnel" ? counts : null);
}

async function statusOf(namespace: string) {
  const path = objectPath(SESSIONS, `lan-${tunnel}`, namespace);
  const object = await server.client.get<L2tpSession>(path);
  const { remoteEndId, claims, sessionId } = object.status ?? {};
  return { reason: conditionOf(object, "Accepted")?.reason, remoteEndId, claims, sessionId };
}

it("keeps the circuit of the first session", async () => {
  await session("shop", { remoteEndId: "42" });
  await pass();
  await session("bakery", { remoteEndId: "42" });
  await pass();
  const first = await statusOf("shop");
  expect(first).toMatchObject({ reason: "Valid", remoteEndId: "42" });
  expect(first.claims).toEqual([
    `session ID ${first.sessionId}`,
    `Remote End ID "42" in L2tpTunnel ${tunnel}`,
  ]);
  expect(await statusOf("bakery")).toEqual({ reason: "Conflict" });
  await session("shop", { remoteEndId: "42", mtu: 1400 });
  await pass();
  expect(await statusOf("shop")).toEqual(first);
  // The holder requests another circuit, so the first one is free.
  await session("shop", { remoteEndId: "43" });
  await pass();
  await pass();
  expect((await statusOf("shop")).remoteEndId).toBe("43");
  expect(await statusOf("bakery")).toMatchObject({ reason: "Valid", remoteEndId: "42" });
});

it("allocates different, stable circuits to two sessions with the same name", async () => {
  await session("shop");
  await session("bakery");
  await pass();
  const name = `lan-${tunnel}`;
  expect((await statusOf("shop")).remoteEndId).toBe(`shop/${name}`);
  expect((await statusOf("bakery")).remoteEndId).toBe(`bakery/${name}`);
});

it("keeps the short Remote End ID of a session accepted by an earlier release, also after a refusal", async () => {
  await session("shop");
  const name = `lan-${tunnel}`;
  const path = `${objectPath(SESSIONS, name, "shop")}/status`;
  const accepted = {
    ...{ type: "Accepted", status: "True", reason: "Valid", message: "", observedGeneration: 1 },
    lastTransitionTime: "2026-01-01T00:00:00Z",
  };
  const status = { nodeName: "n1", sessionId: 70_000 + count, conditions: [accepted] };
  const identity = { apiVersion: "l2tp.dev/v1alpha1", kind: "L2tpSession" };
  const metadata = { name, namespace: "shop" };
  await server.client.apply(path, { ...identity, metadata, status }, "l2tp-controller");
  const allowedNamespaces = { selector: { matchLabels: { open: "yes" } } };
  const remote = { address: `198.51.100.${count}` };
  await apply("L2tpTunnel", { nodeName: "n1", remote, control: {}, allowedNamespaces });
  closed = new Set(["shop"]);
  await pass();
  expect(await statusOf("shop")).toMatchObject({ reason: "NamespaceNotAllowed" });
  closed = new Set();
  await pass();
  const after = await statusOf("shop");
  expect(after).toMatchObject({ reason: "Valid", remoteEndId: name, sessionId: 70_000 + count });
  // While the session is refused, another one may get its circuit; the session keeps its Remote End ID.
  closed = new Set(["shop"]);
  await pass();
  expect(await statusOf("shop")).toEqual({ ...after, reason: "NamespaceNotAllowed" });
  await session("bakery", { remoteEndId: name });
  await pass();
  expect(await statusOf("shop")).toMatchObject({
    claims: [`session ID ${70_000 + count}`],
    remoteEndId: name,
  });
  closed = new Set();
  await pass();
  expect(await statusOf("bakery")).toMatchObject({ reason: "Valid", remoteEndId: name });
  expect(await statusOf("shop")).toMatchObject({ reason: "Conflict", claims: [] });
});

it("adds no default for allowedNamespaces", async () => {
  const { spec } = await server.client.get<L2tpTunnel>(objectPath(TUNNELS, tunnel));
  expect(spec.allowedNamespaces).toBeUndefined();
});
