/**
 * The plugin's connection to the agent. It uses Bun's sockets and not rpc/client.ts: loading node:net takes
 * half as long as loading the rest of the executable, and the runtime waits for every start.
 */
import { connect, type Socket } from "bun";
import { ConnectionError, RemoteError, type Reply } from "../rpc/errors.ts";
import { LineSplitter } from "../rpc/lines.ts";

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** Sends one request at a time. */
export class Connection {
  readonly #path: string;
  readonly #lines: LineSplitter;
  #socket: Socket | null = null;
  #unsent: Uint8Array = new Uint8Array();
  #waiting: Waiting | null = null;
  #failure: ConnectionError | null = null;

  private constructor(path: string, maxReplyBytes: number) {
    this.#path = path;
    this.#lines = new LineSplitter(maxReplyBytes);
  }

  /** @throws ConnectionError, ENOENT or ECONNREFUSED if no process listens */
  static async open(path: string, maxReplyBytes: number): Promise<Connection> {
    const connection = new Connection(path, maxReplyBytes);
    const socket = {
      data: (_: Socket, chunk: Uint8Array) => connection.#receive(chunk),
      drain: () => connection.#flush(),
      close: () => connection.#fail("ECONNRESET", "the connection was closed"),
      error: (_: Socket, error: Error) => connection.#fail(codeOf(error), error.message),
    };
    try {
      connection.#socket = await connect({ unix: path, socket });
    } catch (error) {
      throw new ConnectionError(codeOf(error), `${path}: ${(error as Error).message}`);
    }
    return connection;
  }

  /** @throws RemoteError; ConnectionError, after which the connection cannot be used */
  request(request: unknown, timeoutMs: number): Promise<unknown> {
    // The connection may have failed before the first request.
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const timer = setTimeout(() => {
      this.#fail("ETIMEDOUT", `no answer in ${timeoutMs} ms`);
      this.close();
    }, timeoutMs);
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    this.#unsent = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    this.#flush();
    return answer.finally(() => clearTimeout(timer));
  }

  close(): void {
    this.#socket?.terminate();
  }

  #flush(): void {
    const sent = this.#socket?.write(this.#unsent) ?? 0;
    if (sent < 0) this.#fail("ECONNRESET", "the connection was closed");
    else this.#unsent = this.#unsent.subarray(sent);
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#answer(JSON.parse(line) as Reply<unknown>);
    } catch (error) {
      this.#fail("EPROTO", String(error));
      this.close();
    }
  }

  #answer(reply: Reply<unknown>): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if ("error" in reply) waiting?.reject(new RemoteError(reply.error));
    else waiting?.resolve(reply.result);
  }

  #fail(code: string, message: string): void {
    this.#failure ??= new ConnectionError(code, `${this.#path}: ${message}`);
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
  }
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : "EIO";
}
