/** The agent's client of the datapath process. Finds or starts the process, and sends it requests. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { RpcClient } from "../../rpc/client.ts";
import type { Reply } from "../../rpc/errors.ts";
import { ConnectionError } from "../../rpc/errors.ts";
import type { Change, Listing } from "../datapath.ts";
import { type Hello, MAX_MESSAGE_BYTES, type Request, type Results } from "./protocol.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/l2tp-datapath", import.meta.url));
const CONNECT_TIMEOUT_MS = 2000;
const REPLY_TIMEOUT_MS = 30_000;
const START_TIMEOUT_MS = 15_000;
const START_POLL_MS = 20;
/** Errors that mean: no process listens on the socket. */
const ABSENT: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED"]);
/** True if the error of a request means that no datapath process is running. */
export function isAbsent(error: unknown): boolean {
  return error instanceof ConnectionError && ABSENT.has(error.code);
}

/** Changes in one request. The packet path pauses while they are applied. */
const CHANGES_PER_REQUEST = 16;

export class DatapathClient {
  readonly #path: string;
  #rpc: RpcClient | null = null;
  #connecting: Promise<RpcClient> | null = null;
  #listing: Promise<Listing> | null = null;
  /** Called when the connection to the process is lost. */
  onLost: () => void = () => {};

  constructor(path: string) {
    this.#path = path;
  }

  /** Asks the process for its version. @throws ConnectionError if no process answers */
  hello(): Promise<Hello> {
    return this.#request({ op: "hello" });
  }

  /** As `hello`; null: no process is running. */
  async helloIfThere(): Promise<(Hello & { readonly started: boolean }) | null> {
    try {
      return { ...(await this.hello()), started: false };
    } catch (error) {
      // A process that does not answer is running all the same.
      if (isAbsent(error)) return null;
      throw error;
    }
  }

  /**
   * Lists tunnels and sessions. Calls before the process has answered share one request.
   * @param sessions keys of the sessions to list; undefined: all sessions and tunnels
   */
  list(sessions?: readonly string[]): Promise<Listing> {
    if (sessions !== undefined) return this.#request({ op: "list", sessions });
    const listing =
      this.#listing ??
      this.#request({ op: "list" }).finally(() => {
        if (this.#listing === listing) this.#listing = null;
      });
    this.#listing = listing;
    return listing;
  }

  /** Returns the number of changes of control connections so far. */
  turns(): Promise<number> {
    return this.#request({ op: "turns" });
  }

  /** Returns a reply for each change, in order. */
  async apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    const replies: Reply<null>[] = [];
    // A listing from now on must include the changes.
    this.#listing = null;
    for (let at = 0; at < changes.length; at += CHANGES_PER_REQUEST) {
      const part = changes.slice(at, at + CHANGES_PER_REQUEST);
      replies.push(...(await this.#request({ op: "apply", changes: part })));
    }
    return replies;
  }

  /** Stops the process, if it is running. Its devices remain. */
  async shutdown(): Promise<void> {
    this.onLost = () => {};
    try {
      await this.#request({ op: "shutdown" });
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
    }
    this.close();
  }

  close(): void {
    this.onLost = () => {};
    this.#rpc?.close();
    this.#rpc = null;
  }

  /** Connects to the process. Starts it, in a session of its own, if it is not running. */
  async ensureRunning(): Promise<Hello & { readonly started: boolean }> {
    const running = await this.helloIfThere();
    if (running !== null) return running;
    // Detached, so that the process outlives the agent. Its log goes to the agent's log.
    const stdio = ["ignore", "ignore", "inherit"] as const;
    const child = spawn(PROGRAM, ["--socket", this.#path], { detached: true, stdio: [...stdio] });
    child.unref();
    let exit: string | null = null;
    child.once("error", (error) => {
      exit = error.message;
    });
    child.once("exit", (code, signal) => {
      exit = `exited with ${signal ?? `status ${code}`}`;
    });
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        return { ...(await this.hello()), started: true };
      } catch (error) {
        if (exit !== null || performance.now() > deadline) {
          const why = exit ?? (error instanceof Error ? error.message : String(error));
          throw new ConnectionError("EDATAPATH", `l2tp-datapath failed to start: ${why}`);
        }
        await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
      }
    }
  }

  async #request<O extends Request["op"]>(request: Request & { op: O }): Promise<Results[O]> {
    // If the connection exists, the request is sent before this returns, so callers can work meanwhile.
    const rpc = this.#rpc ?? (await this.#connect());
    return (await rpc.request(request, REPLY_TIMEOUT_MS)) as Results[O];
  }

  /** Connects, with one attempt at a time. */
  #connect(): Promise<RpcClient> {
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #open(): Promise<RpcClient> {
    const rpc = await RpcClient.connect(this.#path, MAX_MESSAGE_BYTES, CONNECT_TIMEOUT_MS, () => {
      if (this.#rpc !== rpc) return;
      this.#rpc = null;
      this.onLost();
    });
    this.#rpc = rpc;
    return rpc;
  }
}
