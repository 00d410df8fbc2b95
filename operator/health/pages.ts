/**
 * HTTP server of /metrics, /healthz and /readyz. A flood of requests costs little, and does not block other
 * clients: answers are cached for a second, a connection serves one request, and the number of connections is
 * bounded. Runs in a separate thread (worker.ts).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** The state of the process. */
export interface Health {
  /** Reason for restarting the process; null: healthy. */
  readonly sick: string | null;
  /** Reason why the process cannot work now; null: ready. */
  readonly unready: string | null;
}

/** The text of /metrics. */
export interface MetricsPage {
  readonly text: string;
  readonly contentType: string;
}

/** Source of the pages' content. */
export interface PageSource {
  health(): Promise<Health>;
  metrics(): Promise<MetricsPage>;
}

/** Bounds of the server. */
export interface PageLimits {
  /** Lifetime of a cached answer. */
  readonly rememberMs: number;
  /** The process is unhealthy if it does not answer within this time. */
  readonly patienceMs: number;
  /** Maximum number of connections. Another connection closes an existing one. */
  readonly maxConnections: number;
  /** Maximum duration of a connection. */
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
  /** One buffer, shared by all clients, so that slow clients cost no memory. */
  readonly body: Buffer;
  readonly type: string;
}

/** Creates the server. The caller calls listen(). */
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
        return probeAnswer((await health()).sick);
      case "/readyz": {
        const { sick, unready } = await health();
        return probeAnswer(sick ?? unready);
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

const probeAnswer = (reason: string | null): Answer =>
  plain(reason === null ? 200 : 503, reason ?? "ok");

function plain(status: number, text: string): Answer {
  return { status, body: Buffer.from(`${text}\n`), type: TEXT };
}

/** Returns a function that caches the result of `make`, also a failure, for `rememberMs`. */
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
    const error = new Error(`the process did not answer within ${patienceMs} ms`);
    timer = setTimeout(() => reject(error), patienceMs);
  });
  try {
    return await Promise.race([ask(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Bounds the number of connections. A new connection is always accepted, because the kubelet's probe must not fail if
 * other clients hold all connections. The oldest connection of the address with the most connections is closed.
 */
function boundConnections(server: Server, { maxConnections, connectionMs }: PageLimits): void {
  /** Connections by address, the oldest first. */
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
