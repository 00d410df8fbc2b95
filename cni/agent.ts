/** The plugin's side of the agent's socket; where nobody listens, tombstones. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type AgentErrorCode,
  type AgentRequest,
  type AgentResults,
  MAX_REPLY_BYTES,
  TOMBSTONES,
  type Tombstone,
} from "../operator/agent/protocol.ts";
import { ConnectionError, RemoteError } from "../rpc/errors.ts";
import { Connection } from "./connection.ts";
import { CniCode, CniError } from "./errors.ts";

const REPLY_TIMEOUT_MS = 60_000;

/** The agent cannot be asked. */
export class AgentDownError extends CniError {
  /** It may have heard the request, and have done some of it. */
  readonly heard: boolean;

  constructor(socket: string, error: ConnectionError, heard: boolean) {
    const message = `the l2tp-cni agent does not answer at ${socket} (${error.code}); is it running on this node?`;
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
  ClientGone: CniCode.TryAgainLater,
  Drift: CniCode.Drift,
};

export class AgentConnection {
  readonly #socket: string;
  readonly #connection: Promise<Connection>;

  constructor(socket: string) {
    this.#socket = socket;
    this.#connection = Connection.open(socket, MAX_REPLY_BYTES);
    // Whoever asks will hear of it.
    this.#connection.catch(() => {});
  }

  /** @throws AgentDownError; CniError with what the agent says */
  async ask<R extends AgentRequest>(request: R): Promise<AgentResults[R["op"]]> {
    let heard = false;
    try {
      const connection = await this.#connection;
      heard = true;
      return (await connection.request(request, REPLY_TIMEOUT_MS)) as AgentResults[R["op"]];
    } catch (error) {
      if (error instanceof ConnectionError) throw new AgentDownError(this.#socket, error, heard);
      if (!(error instanceof RemoteError)) throw error;
      const code = CODES[error.code as AgentErrorCode] ?? CniCode.Internal;
      const remedy = error.remedy === undefined ? "" : `; ${error.remedy}`;
      throw new CniError(code, `${error.message}${remedy}`);
    }
  }

  /** Asks; where the agent is down, it is left a note that it reads when it comes back. */
  async askOrLeaveNote(request: Tombstone): Promise<void> {
    try {
      await this.ask(request);
    } catch (error) {
      if (!(error instanceof AgentDownError)) throw error;
      this.leaveNote(request);
    }
  }

  leaveNote(tombstone: Tombstone): void {
    const beside = dirname(this.#socket);
    // No agent has ever run there since the machine started: nothing can be attached.
    if (!existsSync(beside)) return;
    const folder = join(beside, TOMBSTONES);
    const name = `${Date.now()}-${process.pid}`;
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      // The agent must never see half of one.
      writeFileSync(join(folder, `.${name}`), JSON.stringify(tombstone), { mode: 0o600 });
      renameSync(join(folder, `.${name}`), join(folder, `${name}.json`));
    } catch (error) {
      const message = `the agent is down, and no note can be left for it: ${(error as Error).message}`;
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
