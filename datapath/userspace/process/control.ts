/** The control socket of the datapath process, served on the packet loop's thread. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { EPOLLIN, EPOLLOUT } from "../../../linux/epoll.ts";
import { isErrno } from "../../../linux/errno.ts";
import { closeFd, lockFile, lockHolder } from "../../../linux/fd.ts";
import { acceptUnix, listenUnix, receive, send } from "../../../linux/unix.ts";
import { type Reply, toWireError } from "../../../rpc/errors.ts";
import { LineSplitter } from "../../../rpc/lines.ts";
import { MAX_MESSAGE_BYTES, type Request, type Results } from "../protocol.ts";
import type { DatapathProcess } from "./datapath-process.ts";
import type { Handler, Loop } from "./loop.ts";

/** Concurrent connections: an agent, its successor, and a few diagnostic clients. */
const MAX_CONNECTIONS = 16;
const READ_BYTES = 256 * 1024;

/**
 * Listens on `path`, and serves requests in the rounds of the datapath's loop.
 * @throws SystemError; Error if another datapath process is running, even if it does not respond
 */
export function serveControl(datapath: DatapathProcess, path: string, version: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    lockFile(`${path}.lock`);
  } catch (error) {
    if (!isErrno(error, "EAGAIN")) throw error;
    const pid = lockHolder(`${path}.lock`)?.pid;
    const which = pid === undefined ? "" : ` (process ${pid})`;
    throw new Error(
      `another l2tp-datapath is running on ${path}${which}; stop it, or wait until it exits`,
    );
  }
  const { loop } = datapath;
  const listener = listenUnix(path);
  let connections = 0;
  loop.watch(listener, EPOLLIN, {
    queues: false,
    ready() {
      const fd = acceptUnix(listener);
      if (fd < 0) return;
      if (connections >= MAX_CONNECTIONS) return closeFd(fd);
      connections++;
      const connection = new Connection(datapath, fd, version, () => connections--);
      loop.watch(fd, EPOLLIN, connection);
    },
  });
}

class Connection implements Handler {
  readonly queues = false;
  readonly #loop: Loop;
  readonly #datapath: DatapathProcess;
  readonly #fd: number;
  readonly #version: string;
  readonly #closed: () => void;
  readonly #lines = new LineSplitter(MAX_MESSAGE_BYTES);
  readonly #buffer = new Uint8Array(READ_BYTES);
  /** Bytes that the client has not read yet. While there are any, its requests wait. */
  #unsent: Uint8Array | null = null;

  constructor(datapath: DatapathProcess, fd: number, version: string, closed: () => void) {
    this.#loop = datapath.loop;
    this.#datapath = datapath;
    this.#fd = fd;
    this.#version = version;
    this.#closed = closed;
  }

  ready(): void {
    try {
      if (this.#unsent !== null) this.#flush(this.#unsent);
      else this.#read();
    } catch {
      // The client disconnected, or violated the protocol: close its connection.
      this.#close();
    }
  }

  #read(): void {
    const bytes = receive(this.#fd, this.#buffer);
    if (bytes === 0) return this.#close();
    if (bytes < 0) return;
    let replies = "";
    for (const line of this.#lines.push(this.#buffer.subarray(0, bytes))) {
      replies += `${JSON.stringify(this.#answer(line))}\n`;
    }
    if (replies !== "") this.#flush(Buffer.from(replies));
  }

  #flush(data: Uint8Array): void {
    let rest = data;
    while (rest.length > 0) {
      const sent = send(this.#fd, rest);
      if (sent < 0) break;
      rest = rest.subarray(sent);
    }
    const wasWaiting = this.#unsent !== null;
    this.#unsent = rest.length > 0 ? rest : null;
    if (wasWaiting !== (this.#unsent !== null)) {
      this.#loop.epoll.modify(this.#fd, this.#unsent === null ? EPOLLIN : EPOLLOUT);
    }
  }

  #close(): void {
    this.#loop.unwatchAndClose(this.#fd);
    this.#closed();
  }

  #answer(line: string): Reply<unknown> {
    try {
      return { result: this.#execute(JSON.parse(line) as Request) };
    } catch (error) {
      return { error: toWireError(error) };
    }
  }

  #execute(request: Request): Results[keyof Results] {
    switch (request.op) {
      case "hello":
        return { version: this.#version, pid: process.pid };
      case "list":
        return this.#datapath.list(request.sessions);
      case "turns":
        return this.#datapath.turns;
      case "apply":
        return request.changes.map((change) => this.#datapath.apply(change));
      case "shutdown":
        this.#datapath.stop();
        return null;
      default:
        throw new TypeError(
          `unknown request ${JSON.stringify(request).slice(0, 200)}; this is the datapath process's socket: l2tpctl and the CNI plugin use the agent's`,
        );
    }
  }
}
