import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { RpcClient } from "./client.ts";
import { serve } from "./server.ts";
import { type Outlet, ReplyStream } from "./stream.ts";

/** Timeout that is long enough on any machine. */
const PATIENT_MS = 60_000;

let dir: string;
let path: string;
let server: Server | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "rpc-"));
  path = join(dir, "run", "test.sock");
});

afterEach(() => {
  server?.close();
  server = undefined;
  rmSync(dir, { recursive: true });
});

async function start(handle: (request: unknown) => Promise<unknown>) {
  const options = { maxRequestBytes: 1000, maxConnections: 4, idleTimeoutMs: 5000 };
  server = await serve({ path, handle, ...options });
}

it("answers in the order of the requests, also with errors", async () => {
  await start(async (request) => {
    const { wait, fail } = request as { wait: number; fail?: boolean };
    await new Promise((done) => setTimeout(done, wait));
    if (fail) throw Object.assign(new Error("no"), { code: "EPERM", remedy: "ask" });
    return wait;
  });
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  const failing = client.request({ wait: 1, fail: true }, PATIENT_MS).catch((error) => error);
  const replies = await Promise.all([
    client.request({ wait: 20 }, PATIENT_MS),
    client.request({ wait: 0 }, PATIENT_MS),
  ]);
  expect(replies).toEqual([20, 0]);
  expect(await failing).toMatchObject({ code: "EPERM", message: "no", remedy: "ask" });
  client.close();
});

it("creates the socket with mode 0600", async () => {
  await start(async () => null);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it("replaces the socket of a dead server, but not of a running one", async () => {
  await start(async () => null);
  await expect(start(async () => null)).rejects.toThrow("another server listens");
  server?.close();
  writeFileSync(path, "stale");
  await start(async () => 7);
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  expect(await client.request({}, PATIENT_MS)).toBe(7);
  client.close();
});

it("rejects invalid requests, and continues", async () => {
  await start(async () => "fine");
  const reply = (sent: string) =>
    new Promise<string>((resolve) => {
      const socket = connect(path, () => socket.write(sent));
      socket.once("data", (data) => {
        resolve(data.toString());
        socket.destroy();
      });
    });
  expect(await reply("{\n")).toContain("JSON");
  expect(await reply("x".repeat(2000))).toContain("message exceeds 1000 bytes");
  expect(await reply("{}\n")).toContain("fine");
});

it("fails every waiting request after a timeout, and if no server runs", async () => {
  await start(() => new Promise(() => {}));
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  const late = client.request({}, 20).catch((error) => error);
  const behind = client.request({}, 5000).catch((error) => error);
  expect(await late).toMatchObject({ code: "ETIMEDOUT" });
  expect(await behind).toMatchObject({ code: "ETIMEDOUT" });
  await expect(RpcClient.connect(join(dir, "no.sock"), 1000, PATIENT_MS)).rejects.toMatchObject({
    code: "ENOENT",
  });
});

it("answers a client that has closed its side", async () => {
  await start(async (request) => (request as { n: number }).n);
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connect({ path, allowHalfOpen: true }, () => socket.end('{"n":1}\n{"n":2}\n'));
    socket.on("data", (data) => {
      text += data.toString();
    });
    socket.on("end", () => resolve(text));
  });
  expect(answer).toBe('{"result":1}\n{"result":2}\n');
});

it("tells the handler if the client has closed its side", async () => {
  const seen: boolean[] = [];
  let release = () => {};
  const held = new Promise<void>((done) => {
    release = done;
  });
  const handle = async (_: unknown, client: { isGone: boolean }) => {
    await held;
    seen.push(client.isGone);
  };
  const options = { maxRequestBytes: 1000, maxConnections: 4, idleTimeoutMs: 5000 };
  server = await serve({ path, handle, ...options });
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  const failed = client.request({}, PATIENT_MS).catch(() => "failed");
  client.close();
  await failed;
  await new Promise((done) => setImmediate(done));
  const again = await RpcClient.connect(path, 1000, PATIENT_MS);
  const answered = again.request({}, PATIENT_MS);
  release();
  await answered;
  again.close();
  expect(seen).toEqual([true, false]);
});

/** Serves streamed answers. */
async function startStream(run: (outlet: Outlet) => Promise<unknown>, idleTimeoutMs = 5000) {
  const options = { maxRequestBytes: 1000, maxConnections: 4, idleTimeoutMs };
  server = await serve({ path, handle: async () => new ReplyStream(run), ...options });
}

it("sends items, and then a reply", async () => {
  let count = 0;
  await startStream(async ({ send }) => {
    for (let item = 0; item < 3; item++) send(item);
    if (++count === 2) throw Object.assign(new Error("no"), { code: "EPERM" });
    return "done";
  });
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  const items: unknown[] = [];
  const take = (item: unknown) => items.push(item);
  const answers = [
    client.stream({}, PATIENT_MS, take),
    client.stream({}, PATIENT_MS, take).catch((error) => error.message),
    client.request({}, PATIENT_MS),
  ];
  expect(await Promise.all(answers)).toEqual(["done", "no", "done"]);
  expect(items).toEqual([0, 1, 2, 0, 1, 2]);
  client.close();
});

it("applies no timeout to a stream after its first item", async () => {
  let end = () => {};
  await startStream(async ({ send }) => {
    send("first");
    await new Promise<void>((resolve) => {
      end = resolve;
    });
    return null;
  }, 20);
  const client = await RpcClient.connect(path, 1000, PATIENT_MS);
  const answered = client.stream({}, PATIENT_MS, () => setTimeout(() => end(), 100));
  expect(await answered).toBeNull();
  client.close();
});

it.each(["close", "end"])("tells a stream that its client has closed: %s", async (how) => {
  const told = new Promise<boolean>((resolve) => {
    void startStream(({ send, closed }) => {
      send("first");
      return new Promise((done) => {
        closed.addEventListener("abort", () => {
          resolve(send("lost"));
          done(null);
        });
      });
    }).then(() => {
      const socket = connect({ path, allowHalfOpen: true }, () => socket.write("{}\n"));
      socket.once("data", () => (how === "end" ? socket.end() : socket.destroy()));
    });
  });
  expect(await told).toBe(false);
});

it("bounds the unsent items of a client that reads slowly", async () => {
  const text = "x".repeat(1000);
  let sent = 0;
  let isFull = () => {};
  const full = new Promise<void>((resolve) => {
    isFull = resolve;
  });
  await startStream(async ({ send }) => {
    while (send(text)) sent++;
    isFull();
    return null;
  });
  const socket = connect(path, () => socket.write("{}\n"));
  socket.pause();
  await full;
  expect(sent).toBeGreaterThan(1000);
  expect(sent).toBeLessThan(2000);
  socket.destroy();
});
