import { once } from "node:events";
import { type IncomingMessage, request, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, expect, it } from "vitest";
import { until } from "../../test/harness/wait.ts";
import { createPages, PAGE_LIMITS, type PageLimits, type PageSource } from "./pages.ts";

const WELL = { sick: null, unready: null };
let server: Server | undefined;
let sockets: Socket[] = [];

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets = [];
  server?.closeAllConnections();
  server?.close();
});

interface Answered {
  readonly status: number | undefined;
  readonly text: string;
}

function portOf(): number {
  if (server === undefined) throw new Error("nothing serves");
  return (server.address() as AddressInfo).port;
}

function get(path: string, options: { method?: string; localAddress?: string } = {}) {
  const port = portOf();
  return new Promise<Answered>((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", path, agent: false, ...options });
    sent.on("error", reject).on("response", (response: IncomingMessage) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode, text }));
    });
    sent.end();
  });
}

async function serve(source: Partial<PageSource>, limits: Partial<PageLimits> = {}) {
  const health = async () => WELL;
  const metrics = async () => ({ text: "figures\n", contentType: "text/plain" });
  server = createPages({ health, metrics, ...source }, { ...PAGE_LIMITS, ...limits });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}

/** Opens a connection that sends only `text`. */
async function hold(text = ""): Promise<Socket> {
  const port = portOf();
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

it("renders the page at most once a second", async () => {
  let made = 0;
  const metrics = async () => ({ text: `page ${++made}\n`, contentType: "text/plain" });
  await serve({ metrics });
  const started = performance.now();
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(Array.from({ length: 30 }, () => get("/metrics")));
    expect(answers.map(({ status }) => status)).toEqual(Array(30).fill(200));
  }
  expect(made).toBeLessThanOrEqual(1 + Math.floor((performance.now() - started) / 1000));
  await until("it is made again", async () => (await get("/metrics")).text !== "page 1\n");
});

it("checks the process's health at most once a second", async () => {
  let asked = 0;
  const health = async () => {
    asked++;
    return { sick: null, unready: "not yet" };
  };
  await serve({ health }, { rememberMs: 3_600_000 });
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, index) => get(index % 2 === 0 ? "/healthz" : "/readyz")),
  );
  expect(answers[0]).toEqual({ status: 200, text: "ok\n" });
  expect(answers[1]).toEqual({ status: 503, text: "not yet\n" });
  expect(asked).toBe(1);
});

it("caches a failure like a page", async () => {
  let asked = 0;
  const metrics = () => {
    asked++;
    return Promise.reject(new Error("no figures"));
  };
  await serve({ metrics }, { rememberMs: 3_600_000 });
  for (let i = 0; i < 5; i++) {
    expect(await get("/metrics")).toEqual({ status: 503, text: "no figures\n" });
  }
  expect(asked).toBe(1);
});

it("reports a process that does not answer as unhealthy", async () => {
  await serve({ health: () => new Promise(() => {}) }, { patienceMs: 20 });
  const { status, text } = await get("/healthz");
  expect(status).toBe(503);
  expect(text).toContain("did not answer");
});

it("answers a probe while other clients hold all connections", async () => {
  await serve({}, { maxConnections: 8 });
  for (let i = 0; i < 40; i++) await hold(i % 2 === 0 ? "" : "GET /metrics HTTP/1.1\r\nX-Slow: ");
  expect(await get("/healthz")).toEqual({ status: 200, text: "ok\n" });
  const closed = sockets.filter(({ destroyed, readableEnded }) => destroyed || readableEnded);
  expect(closed.length).toBeGreaterThanOrEqual(40 - 8);
});

it("closes connections of the address that has the most, and no others", async () => {
  let answerAll = () => {};
  const held = new Promise<void>((resolve) => {
    answerAll = resolve;
  });
  const health = async () => {
    await held;
    return WELL;
  };
  await serve({ health }, { maxConnections: 8 });
  const probe = get("/healthz", { localAddress: "127.0.0.2" });
  for (let i = 0; i < 40; i++) await hold();
  answerAll();
  expect(await probe).toEqual({ status: 200, text: "ok\n" });
});

it("closes a connection after its maximum duration, even if the client reads slowly", async () => {
  const text = "x".repeat(50_000_000);
  await serve({ metrics: async () => ({ text, contentType: "text/plain" }) }, { connectionMs: 50 });
  const slow = await hold("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  slow.pause();
  await until("it is closed", () => connections().then((count) => count === 0));
});

function connections(): Promise<number> {
  return new Promise((resolve, reject) => {
    server?.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

it("answers one request per connection", async () => {
  await serve({});
  const socket = await hold("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  await once(socket, "close");
  expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
});

it.each([
  ["a method other than GET", "POST", "/metrics", 405],
  ["an unknown page", "GET", "/other", 404],
])("refuses %s", async (_what, method, path, status) => {
  await serve({});
  expect((await get(path, { method })).status).toBe(status);
});

it("bounds headers and bodies", async () => {
  await serve({});
  for (const head of [
    `GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(100_000)}`,
    "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
  ]) {
    const socket = await hold(head);
    socket.resume();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write("x".repeat(100_000));
    await closed;
  }
});
