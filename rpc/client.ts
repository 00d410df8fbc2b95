/** Client of the project's unix sockets. Replies arrive in the order of the requests. */
import { connect, type Socket } from "node:net";
import { ConnectionError, RemoteError, type Reply } from "./errors.ts";
import { LineSplitter } from "./lines.ts";

/** A line from the server. */
type Line = Reply<unknown> | { readonly item: unknown };

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
  /** Receives the items of a streamed answer; null: the answer is one reply. */
  readonly take: ((item: unknown) => void) | null;
}

/** A connection to a server. */
export class RpcClient {
  readonly #path: string;
  readonly #socket: Socket;
  readonly #lines: LineSplitter;
  readonly #waiting: Waiting[] = [];
  #failure: ConnectionError | null = null;
  readonly #closed: () => void;

  private constructor(path: string, socket: Socket, maxReplyBytes: number, closed: () => void) {
    this.#path = path;
    this.#socket = socket;
    this.#closed = closed;
    this.#lines = new LineSplitter(maxReplyBytes);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#fail(new ConnectionError(error.code ?? "EIO", `${path}: ${error.message}`));
    });
    socket.on("close", () => {
      this.#fail(new ConnectionError("ECONNRESET", `${path}: the connection was closed`));
      this.#closed();
    });
  }

  /**
   * @param closed called once, when the connection ends for any reason
   * @throws ConnectionError, ENOENT or ECONNREFUSED if no process listens
   */
  static connect(
    path: string,
    maxReplyBytes: number,
    timeoutMs: number,
    closed: () => void = () => {},
  ): Promise<RpcClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const timer = setTimeout(() => {
        socket.destroy();
        reject(new ConnectionError("ETIMEDOUT", `${path}: connection timed out`));
      }, timeoutMs);
      const refused = (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        reject(new ConnectionError(error.code ?? "EIO", `${path}: ${error.message}`));
      };
      socket.once("error", refused);
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.off("error", refused);
        resolve(new RpcClient(path, socket, maxReplyBytes, closed));
      });
    });
  }

  /** @throws RemoteError; ConnectionError, after which the connection cannot be used */
  request(request: unknown, timeoutMs: number): Promise<unknown> {
    return this.#send(request, timeoutMs, null);
  }

  /**
   * Sends a request whose answer is a stream of items (stream.ts).
   * @param timeoutMs until the first item
   * @returns the reply after the last item
   * @throws RemoteError, ConnectionError
   */
  stream(request: unknown, timeoutMs: number, take: (item: unknown) => void): Promise<unknown> {
    return this.#send(request, timeoutMs, take);
  }

  #send(request: unknown, timeoutMs: number, take: Waiting["take"]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure);
      const timer = setTimeout(() => {
        const message = `${this.#path}: no answer in ${timeoutMs} ms`;
        // A late reply would be taken for the reply to the next request.
        this.#fail(new ConnectionError("ETIMEDOUT", message));
        this.close();
      }, timeoutMs);
      this.#waiting.push({ resolve, reject, timer, take });
      this.#socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#answer(JSON.parse(line) as Line);
    } catch (error) {
      this.#fail(new ConnectionError("EPROTO", `${this.#path}: ${String(error)}`));
      this.close();
    }
  }

  #answer(reply: Line): void {
    const waiting = this.#waiting[0];
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    if ("item" in reply) return waiting.take?.(reply.item);
    this.#waiting.shift();
    if ("error" in reply) waiting.reject(new RemoteError(reply.error));
    else waiting.resolve(reply.result);
  }

  #fail(error: ConnectionError): void {
    this.#failure ??= error;
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#failure);
    }
  }
}
