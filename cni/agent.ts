/** Sends requests to the agent, and defers requests that the node cannot carry out now. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { makeFolder, replaceFile } from "../files/replace-file.ts";
import { requireSafeSocket } from "../files/socket-folder.ts";
import {
  type AgentErrorCode,
  type AgentRequest,
  type AgentResults,
  DEFERRED_REQUESTS,
  type DeferredRequest,
  MAX_REPLY_BYTES,
} from "../operator/agent-protocol.ts";
import { ConnectionError, RemoteError } from "../rpc/errors.ts";
import { Connection } from "./connection.ts";
import { CniCode, CniError } from "./errors.ts";

const REPLY_TIMEOUT_MS = 60_000;

/** The agent does not answer. */
export class AgentDownError extends CniError {
  /** The agent may have received the request, and carried out a part of it. */
  readonly heard: boolean;

  constructor(socket: string, error: ConnectionError, heard: boolean) {
    const message = `the l2tp-cni agent does not answer at ${socket} (${error.code}); check that it runs on this node`;
    super(CniCode.TryAgainLater, message, error.message);
    this.name = "AgentDownError";
    this.heard = heard;
  }
}

const CODES: Readonly<Record<AgentErrorCode, number>> = {
  NotReady: CniCode.TryAgainLater,
  SessionNotReady: CniCode.TryAgainLater,
  ApplyFailed: CniCode.TryAgainLater,
  UnknownSession: CniCode.UnknownSession,
  SessionBusy: CniCode.SessionBusy,
  InterfaceExists: CniCode.InterfaceExists,
  NamespaceMismatch: CniCode.NamespaceMismatch,
  NoNetns: CniCode.InvalidNetns,
  UnknownPod: CniCode.UnknownContainer,
  StateNotWritable: CniCode.IoFailure,
  InvalidRequest: CniCode.InvalidConfig,
  UnsupportedField: CniCode.UnsupportedField,
  MtuTooSmall: CniCode.TryAgainLater,
  ClientGone: CniCode.TryAgainLater,
  Drift: CniCode.Drift,
  DatapathAway: CniCode.TryAgainLater,
  SystemCallFailed: CniCode.TryAgainLater,
};
/** An errno name: the code by which agents of other versions report errors of datapath or kernel. */
const ERRNO = /^E[A-Z0-9]+$/;

function codeOf({ code }: RemoteError): number {
  const known = CODES[code as AgentErrorCode];
  return known ?? (ERRNO.test(code) ? CniCode.TryAgainLater : CniCode.Internal);
}

/** Sends the plugin's requests to the agent. */
export class AgentConnection {
  readonly #socket: string;
  readonly #connection: Promise<Connection>;
  #deferred = 0;

  /** @throws CniError if a user other than root can replace the socket */
  constructor(socket: string) {
    this.#socket = requireSafe(socket);
    this.#connection = Connection.open(this.#socket, MAX_REPLY_BYTES);
    // The first request reports the error.
    this.#connection.catch(() => {});
  }

  /** @throws AgentDownError; CniError with the agent's message and remedy */
  async ask<R extends AgentRequest>(request: R): Promise<AgentResults[R["op"]]> {
    let heard = false;
    try {
      const connection = await this.#connection;
      heard = true;
      return (await connection.request(request, REPLY_TIMEOUT_MS)) as AgentResults[R["op"]];
    } catch (error) {
      if (error instanceof ConnectionError) throw new AgentDownError(this.#socket, error, heard);
      if (!(error instanceof RemoteError)) throw error;
      const remedy = error.remedy ? `; ${error.remedy}` : "";
      throw new CniError(codeOf(error), `${error.message}${remedy}`);
    }
  }

  /** Sends the request. If agent, datapath or kernel fail for now, defers it: the agent carries it out later. */
  async askOrDefer(request: DeferredRequest): Promise<void> {
    try {
      await this.ask(request);
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== CniCode.TryAgainLater) throw error;
      this.defer(request);
    }
  }

  /** Writes the request to a file. The agent reads it before its next request, and after each reconcile. */
  defer(request: DeferredRequest): void {
    const runFolder = dirname(this.#socket);
    // No agent has run since the machine started, so nothing is attached.
    if (!existsSync(runFolder)) return;
    const folder = join(runFolder, DEFERRED_REQUESTS);
    const name = `${Date.now()}-${process.pid}-${this.#deferred++}.json`;
    try {
      makeFolder(folder);
      replaceFile(join(folder, name), JSON.stringify(request));
    } catch (error) {
      const message = `cannot defer the request to the agent: ${(error as Error).message}`;
      throw new CniError(CniCode.IoFailure, message);
    }
  }

  close(): void {
    void this.#connection.then(
      (connection) => connection.close(),
      () => {},
    );
  }
}

function requireSafe(socket: string): string {
  try {
    return requireSafeSocket(socket);
  } catch (error) {
    const message = `socket ${JSON.stringify(socket)}: ${(error as Error).message}`;
    throw new CniError(CniCode.InvalidConfig, message);
  }
}
