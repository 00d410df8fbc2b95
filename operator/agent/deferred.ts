/** Carries out the requests that the CNI plugin has deferred in files. */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile } from "../../files/read-file.ts";
import { setAside } from "../../files/replace-file.ts";
import { ConnectionError } from "../../rpc/errors.ts";
import { type CniCall, type DeferredRequest, MAX_REQUEST_BYTES } from "../agent-protocol.ts";
import { checkRequest } from "./request.ts";

const MAX_FILES = 10_000;
/** Age at which an unfinished file is abandoned: the plugin writes a file at once. */
const ABANDONED_MS = 3_600_000;

export interface DeferredOptions {
  carryOut(request: DeferredRequest): Promise<unknown>;
  /** Called for a failed request, which the next run retries. */
  failed(path: string, error: unknown): void;
  /** Called for an invalid file, which is deleted. */
  dropped(path: string, error: unknown): void;
}

/** The folders of deferred requests, and the requests that failed so far. */
export class DeferredRequests {
  readonly #folders: readonly string[];
  readonly #options: DeferredOptions;
  #pending: readonly DeferredRequest[] = [];

  /** @param folders the plugin's folder first, then those of earlier versions */
  constructor(folders: readonly string[], options: DeferredOptions) {
    this.#folders = folders;
    this.#options = options;
  }

  /** True if a deferred DEL of the call is pending. */
  isLeaving({ containerId, cniIfname }: CniCall): boolean {
    return this.#pending.some(
      (request) =>
        request.op === "detach" &&
        request.containerId === containerId &&
        request.cniIfname === cniIfname,
    );
  }

  /** Carries out all requests, the oldest first. Tries only one while the datapath process does not answer. */
  async carryOut(): Promise<void> {
    const pending: DeferredRequest[] = [];
    let isAway = false;
    for (const path of this.#folders.flatMap(filesIn)) {
      const request = this.#read(path);
      if (request === null) continue;
      try {
        if (isAway) throw new ConnectionError("EDATAPATH", "the datapath process does not answer");
        await this.#options.carryOut(request);
        rmSync(path, { force: true });
      } catch (error) {
        pending.push(request);
        if (!isAway) this.#options.failed(path, error);
        isAway ||= error instanceof ConnectionError;
      }
    }
    this.#pending = pending;
  }

  #read(path: string): DeferredRequest | null {
    try {
      // Earlier plugins accepted a folder that other users can write to.
      if (lstatSync(path).uid !== process.geteuid?.()) throw new Error("another user owns it");
      const request = checkRequest(readJsonFile(path, MAX_REQUEST_BYTES));
      if (request.op === "detach" || request.op === "gc") return request;
      throw new Error(`a request ${request.op} cannot be deferred`);
    } catch (error) {
      this.#options.dropped(path, error);
      remove(path);
      return null;
    }
  }
}

function filesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    // The folder is missing: the plugin has deferred nothing.
    return [];
  }
  const isRequest = (name: string) => name.endsWith(".json") && !name.startsWith(".");
  for (const name of names) if (!name.endsWith(".json")) removeAbandoned(join(folder, name));
  return names
    .filter(isRequest)
    .sort()
    .slice(0, MAX_FILES)
    .map((name) => join(folder, name));
}

function removeAbandoned(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true || Math.abs(Date.now() - stat.mtimeMs) < ABANDONED_MS) return;
  remove(path);
}

function remove(path: string): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) setAside(path);
    else rmSync(path, { force: true });
  } catch {
    // The next run tries again.
  }
}
