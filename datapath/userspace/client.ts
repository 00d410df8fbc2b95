/** The agent's side of the datapath process: finds it or starts it, and speaks to it. */
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
/** Nobody listens on the socket. */
const ABSENT: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED"]);
/** Whether an error of a request says that no datapath runs. */
export function isAbsent(error: unknown): boolean {
  return error instanceof ConnectionError && ABSENT.has(error.code);
}

/** Changes in one request: the packet path stands still while they are made. */
const CHANGES_PER_REQUEST = 16;

export class DatapathClient {
  readonly #path: string;
  #rpc: RpcClient | null = null;
  #connecting: Promise<RpcClient> | null = null;
  #listing: Promise<Listing> | null = null;
  /** Called when the process has gone away. */
  onLost: () => void = () => {};

  constructor(path: string) {
    this.#path = path;
  }

  /** Who is there. @throws ConnectionError where nobody is */
  hello(): Promise<Hello> {
    return this.#request({ op: "hello" });
  }

  /** Who is there; null: nobody. */
  async helloIfThere(): Promise<(Hello & { readonly started: boolean }) | null> {
    try {
      return { ...(await this.hello()), started: false };
    } catch (error) {
      // One that does not answer is there all the same.
      if (isAbsent(error)) return null;
      throw error;
    }
  }

  /**
   * All that is asked for before the process answers is one question.
   * @param sessions keys of the sessions to list; undefined: all, and all tunnels
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

  /** How often control connections have changed so far. */
  turns(): Promise<number> {
    return this.#request({ op: "turns" });
  }

  /** A reply for each change, in order. */
  async apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    const replies: Reply<null>[] = [];
    // A listing from now on shows what has changed.
    this.#listing = null;
    for (let at = 0; at < changes.length; at += CHANGES_PER_REQUEST) {
      const part = changes.slice(at, at + CHANGES_PER_REQUEST);
      replies.push(...(await this.#request({ op: "apply", changes: part })));
    }
    return replies;
  }

  /** Ends the process; its devices stay. Nothing happens where there is none. */
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

  /** Connects to the process; where there is none it is started, in a session of its own. */
  async ensureRunning(): Promise<Hello & { readonly started: boolean }> {
    const running = await this.helloIfThere();
    if (running !== null) return running;
    // Detached: it outlives us. What it has to say goes where our own log goes.
    const stdio = ["ignore", "ignore", "inherit"] as const;
    const child = spawn(PROGRAM, ["--socket", this.#path], { detached: true, stdio: [...stdio] });
    child.unref();
    let exit: string | null = null;
    child.once("error", (error) => {
      exit = error.message;
    });
    child.once("exit", (code, signal) => {
      exit = `it ended with ${signal ?? `status ${code}`}`;
    });
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        return { ...(await this.hello()), started: true };
      } catch (error) {
        if (exit !== null || performance.now() > deadline) {
          const why = exit ?? (error instanceof Error ? error.message : String(error));
          throw new ConnectionError("EDATAPATH", `l2tp-datapath does not come up: ${why}`);
        }
        await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
      }
    }
  }

  async #request<O extends Request["op"]>(request: Request & { op: O }): Promise<Results[O]> {
    // Where there is a connection, the request is out when this returns: callers have other work meanwhile.
    const rpc = this.#rpc ?? (await this.#connect());
    return (await rpc.request(request, REPLY_TIMEOUT_MS)) as Results[O];
  }

  /** One attempt at a time. */
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
