/** Server of the project's unix sockets, for processes with Node's event loop. */
import { chmodSync, mkdirSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { removeStaleSocket } from "../files/stale-socket.ts";
import { toWireError } from "./errors.ts";
import { LineSplitter } from "./lines.ts";
import { type Outlet, ReplyStream } from "./stream.ts";

/** Socket, limits and handler of a server. */
export interface ServeOptions {
  readonly path: string;
  readonly maxRequestBytes: number;
  readonly maxConnections: number;
  /** A connection without requests for this time is closed. */
  readonly idleTimeoutMs: number;
  /** Answers a request. An error is sent to the client. A ReplyStream is run. */
  handle(request: unknown, client: Client): Promise<unknown>;
}

/** The sender of a request. */
export interface Client {
  /** True if the client has closed its side, and so presumably does not wait for the answer. */
  readonly isGone: boolean;
}

/**
 * Listens on a unix socket with mode 0600. Replaces the socket file of a server that has exited.
 * @throws Error if another server listens on the socket
 */
export async function serve(options: ServeOptions): Promise<Server> {
  const { path } = options;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (await isServed(path)) throw new Error(`${path}: another server listens on this socket`);
  removeStaleSocket(path);
  // A client may close its side after its last request, as `nc -U` does, and still wait for the answers.
  const server = createServer({ allowHalfOpen: true }, (socket) => attend(socket, options));
  server.maxConnections = options.maxConnections;
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  } finally {
    process.umask(mask);
  }
  return server;
}

/** True if a process listens on the socket. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    // The queue of connections is full, so a process listens.
    socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "EAGAIN"));
  });
}

function attend(socket: Socket, { maxRequestBytes, idleTimeoutMs, handle }: ServeOptions): void {
  const lines = new LineSplitter(maxRequestBytes);
  // Requests are handled one after the other, so that replies have the order of the requests.
  let last = Promise.resolve();
  const client: Client = {
    get isGone() {
      return socket.destroyed || socket.readableEnded;
    },
  };
  const answer = async (line: string) => {
    let reply: unknown;
    try {
      const answered = await handle(JSON.parse(line), client);
      const result = answered instanceof ReplyStream ? await stream(answered) : answered;
      reply = { result: result ?? null };
    } catch (error) {
      reply = { error: toWireError(error) };
    }
    if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`);
  };
  const stream = async ({ run }: ReplyStream) => {
    // A stream may be silent in both directions for a long time.
    socket.setTimeout(0);
    try {
      return await run(outletTo(socket));
    } finally {
      socket.setTimeout(idleTimeoutMs);
    }
  };
  socket.setTimeout(idleTimeoutMs, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("end", () => {
    void last.then(() => socket.end());
  });
  socket.on("data", (chunk: Buffer) => {
    try {
      for (const line of lines.push(chunk)) last = last.then(() => answer(line));
    } catch (error) {
      // The following bytes would be the middle of a message.
      socket.pause();
      socket.end(`${JSON.stringify({ error: toWireError(error) })}\n`, () => socket.destroy());
    }
  });
}

/** Bound of the unsent bytes for a client that reads slowly. */
const MAX_UNREAD_BYTES = 1024 * 1024;

function outletTo(socket: Socket): Outlet {
  const gone = new AbortController();
  for (const event of ["end", "close"]) socket.once(event, () => gone.abort());
  if (socket.destroyed || socket.readableEnded) gone.abort();
  return {
    closed: gone.signal,
    send(item) {
      if (gone.signal.aborted || socket.writableLength > MAX_UNREAD_BYTES) return false;
      socket.write(`${JSON.stringify({ item })}\n`);
      return true;
    },
  };
}
