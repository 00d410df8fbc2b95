import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { until } from "../../test/harness/wait.ts";
import type { KubeClient } from "./client.ts";
import { clientOf } from "./fake-server.ts";
import { LeaderElection } from "./leader.ts";

interface Stored {
  metadata: { resourceVersion: string };
  spec?: { holderIdentity?: string };
}

/** A Lease with the API server's check of resource versions. */
let server: Server;
let lease: Stored | null;
let isAway: boolean;
/** Number of reads of the Lease. */
let reads: number;
let client: KubeClient;

beforeEach(async () => {
  lease = null;
  isAway = false;
  reads = 0;
  server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const reply = (status: number, body: unknown) => {
      response.writeHead(status).end(JSON.stringify(body));
    };
    if (isAway) return reply(500, { message: "away" });
    if (request.method === "GET") reads++;
    if (request.method === "GET") return lease === null ? reply(404, {}) : reply(200, lease);
    const body = JSON.parse(text) as Stored;
    const isStale =
      (lease?.metadata.resourceVersion ?? "") !== (body.metadata.resourceVersion ?? "");
    if (isStale) return reply(409, { reason: "Conflict" });
    const resourceVersion = String(Number(lease?.metadata.resourceVersion ?? 0) + 1);
    lease = { ...body, metadata: { ...body.metadata, resourceVersion } };
    reply(200, lease);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  client = clientOf(server);
});

afterEach(() => {
  client.close();
  server.closeAllConnections();
  server.close();
});

/** @param durationMs after which a dead leader is replaced: long, so that no leader is replaced on a busy machine */
const candidate = (identity: string, durationMs = 1000) =>
  new LeaderElection({
    client,
    namespace: "x",
    name: "lease",
    identity,
    // A Lease has whole seconds.
    durationMs,
    renewWithinMs: durationMs / 5,
    retryMs: 20,
    failed: () => {},
  });
const never = new AbortController().signal;
const PATIENT_MS = 60_000;

it("has one leader, and the next one when the first releases the lease", async () => {
  const [a, b] = [candidate("a", PATIENT_MS), candidate("b", PATIENT_MS)];
  await a.acquire(never);
  expect(lease?.spec?.holderIdentity).toBe("a");
  let isLeading = false;
  const waiting = b.acquire(never).then(() => {
    isLeading = true;
  });
  const before = reads;
  await until("the second one has tried some times", () => reads > before + 5);
  const stop = new AbortController();
  const holding = a.hold(stop.signal);
  const version = lease?.metadata.resourceVersion;
  await until("the lease is renewed", () => lease?.metadata.resourceVersion !== version);
  expect(isLeading).toBe(false);
  stop.abort(new Error("stopped"));
  await holding;
  await a.release();
  await waiting;
  expect(lease?.spec?.holderIdentity).toBe("b");
});

it("replaces a dead leader", async () => {
  await candidate("a").acquire(never);
  await candidate("b").acquire(never);
  expect(lease?.spec?.holderIdentity).toBe("b");
});

it.each([86_400_000, -86_400_000])("ignores a clock that jumps by %d ms", async (milliseconds) => {
  const [a, b] = [candidate("a", PATIENT_MS), candidate("b", PATIENT_MS)];
  const stop = new AbortController();
  await a.acquire(never);
  const holding = a.hold(stop.signal);
  const waiting = b.acquire(stop.signal).catch(() => "stopped");
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + milliseconds });
  try {
    const version = () => Number(lease?.metadata.resourceVersion);
    const before = version();
    await until("it has been renewed some times", () => version() > before + 5);
    expect(lease?.spec?.holderIdentity).toBe("a");
  } finally {
    vi.useRealTimers();
  }
  stop.abort(new Error("stopped"));
  await holding;
  expect(await waiting).toBe("stopped");
});

it("stops leading when the API server does not answer for too long", async () => {
  const a = candidate("a");
  await a.acquire(never);
  isAway = true;
  await a.hold(never);
});

it("stops leading when another candidate has taken the lease", async () => {
  const [a, b] = [candidate("a"), candidate("b")];
  await a.acquire(never);
  const holding = a.hold(never);
  await b.take(never);
  await holding;
  expect(lease?.spec?.holderIdentity).toBe("b");
});
