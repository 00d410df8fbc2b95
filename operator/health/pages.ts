/**
 * The HTTP side of /metrics, /healthz and /readyz, made so that a flood of requests costs little and keeps nobody
 * else from an answer: answers are remembered for a second, a connection carries one request, and there are few
 * connections. It runs in a thread of its own (worker.ts).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** What the process says of itself. */
export interface Health {
  /** Why the process should be restarted; null: it should not. */
  readonly sick: string | null;
  /** Why it cannot do its work now; null: it can. */
  readonly unready: string | null;
}

export interface MetricsPage {
  readonly text: string;
  readonly contentType: string;
}

export interface PageSource {
  health(): Promise<Health>;
  metrics(): Promise<MetricsPage>;
}

export interface PageLimits {
  /** How long an answer is remembered. */
  readonly rememberMs: number;
  /** A process that does not answer for so long is sick. */
  readonly patienceMs: number;
  /** Connections at once; one more takes the place of another. */
  readonly maxConnections: number;
  /** The longest that a connection may last. */
  readonly connectionMs: number;
}

export const PAGE_LIMITS: PageLimits = {
  rememberMs: 1000,
  patienceMs: 10_000,
  maxConnections: 64,
  connectionMs: 30_000,
};

const MAX_HEADER_BYTES = 8192;
const REQUEST_TIMEOUT_MS = 10_000;
const TEXT = "text/plain; charset=utf-8";

interface Answer {
  readonly status: number;
  /** One piece of memory for all who get it, however slowly they read. */
  readonly body: Buffer;
  readonly type: string;
}

export function createPages(source: PageSource, limits: PageLimits = PAGE_LIMITS): Server {
  const { rememberMs, patienceMs } = limits;
  const remembered = <T>(ask: () => Promise<T>) =>
    remember(() => patiently(ask, patienceMs), rememberMs);
  const health = remembered(() => source.health());
  const metrics = remembered(async () => {
    const { text, contentType } = await source.metrics();
    return { status: 200, body: Buffer.from(text), type: contentType };
  });
  const answerTo = async (url: string | undefined): Promise<Answer> => {
    switch (url?.split("?")[0]) {
      case "/healthz":
        return verdict((await health()).sick);
      case "/readyz": {
        const { sick, unready } = await health();
        return verdict(sick ?? unready);
      }
      case "/metrics":
        return metrics();
      default:
        return plain(404, "use /metrics, /healthz or /readyz");
    }
  };
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
    void answer(request, response, answerTo);
  });
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = REQUEST_TIMEOUT_MS;
  server.maxRequestsPerSocket = 1;
  boundConnections(server, limits);
  return server;
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  answerTo: (url: string | undefined) => Promise<Answer>,
): Promise<void> {
  const isRead = method === "GET" || method === "HEAD";
  const { status, body, type } = isRead
    ? await answerTo(url).catch((error: Error) => plain(503, error.message))
    : plain(405, "use GET");
  if (response.destroyed) return;
  const length = { "content-type": type, "content-length": body.length };
  response.writeHead(status, { ...length, connection: "close" });
  response.end(method === "HEAD" ? undefined : body);
}

const verdict = (reason: string | null): Answer =>
  plain(reason === null ? 200 : 503, reason ?? "ok");

function plain(status: number, text: string): Answer {
  return { status, body: Buffer.from(`${text}\n`), type: TEXT };
}

/** All who ask until the answer is `rememberMs` old have the same one, a failure too. */
function remember<T>(make: () => Promise<T>, rememberMs: number): () => Promise<T> {
  let known: Promise<T> | null = null;
  let goodUntil = Number.POSITIVE_INFINITY;
  return () => {
    if (known !== null && performance.now() < goodUntil) return known;
    const made = make();
    known = made;
    goodUntil = Number.POSITIVE_INFINITY;
    const done = () => {
      goodUntil = performance.now() + rememberMs;
    };
    made.then(done, done);
    return made;
  };
}

async function patiently<T>(ask: () => Promise<T>, patienceMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`the process has not answered for ${patienceMs} ms`);
    timer = setTimeout(() => reject(error), patienceMs);
  });
  try {
    return await Promise.race([ask(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A new connection always gets in: the kubelet's probe must not fail because someone else holds all connections. The
 * oldest connection of the address that has most makes room.
 */
function boundConnections(server: Server, { maxConnections, connectionMs }: PageLimits): void {
  /** By address; the oldest first. */
  const byAddress = new Map<string, Set<Socket>>();
  let count = 0;
  server.on("connection", (socket: Socket) => {
    if (count >= maxConnections) oldestOfMost(byAddress)?.destroy();
    const address = socket.remoteAddress ?? "";
    const own = byAddress.get(address) ?? new Set();
    byAddress.set(address, own.add(socket));
    count++;
    const timer = setTimeout(() => socket.destroy(), connectionMs);
    socket.once("close", () => {
      clearTimeout(timer);
      count--;
      own.delete(socket);
      if (own.size === 0 && byAddress.get(address) === own) byAddress.delete(address);
    });
  });
}

function oldestOfMost(byAddress: ReadonlyMap<string, ReadonlySet<Socket>>): Socket | undefined {
  let most: ReadonlySet<Socket> = new Set();
  for (const sockets of byAddress.values()) if (sockets.size > most.size) most = sockets;
  for (const socket of most) if (!socket.destroyed) return socket;
  return undefined;
}
