/** Requests that the CNI plugin has deferred, in files: the agent carries them out when it can. */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile } from "../../files/read-file.ts";
import { setAside } from "../../files/replace-file.ts";
import { ConnectionError } from "../../rpc/errors.ts";
import { type CniCall, type DeferredRequest, MAX_REQUEST_BYTES } from "../agent-protocol.ts";
import { checkRequest } from "./request.ts";

const MAX_FILES = 10_000;
/** The plugin writes a file in an instant: one that is unfinished for so long stays so. */
const ABANDONED_MS = 3_600_000;

export interface DeferredOptions {
  carryOut(request: DeferredRequest): Promise<unknown>;
  /** It is tried again the next time. */
  failed(path: string, error: unknown): void;
  /** It is no request, and not kept. */
  dropped(path: string, error: unknown): void;
}

/** The folder of deferred requests, and what could not be carried out yet. */
export class DeferredRequests {
  readonly #folders: readonly string[];
  readonly #options: DeferredOptions;
  #pending: readonly DeferredRequest[] = [];

  /**
   * @param folders the first is the plugin's; the others are those of plugins of earlier versions
   */
  constructor(folders: readonly string[], options: DeferredOptions) {
    this.#folders = folders;
    this.#options = options;
  }

  /** True if a DEL of the call is deferred and not done. */
  isLeaving({ containerId, cniIfname }: CniCall): boolean {
    return this.#pending.some(
      (request) =>
        request.op === "detach" &&
        request.containerId === containerId &&
        request.cniIfname === cniIfname,
    );
  }

  /** Carries out all that there are, the oldest first. While the datapath is away, one is tried. */
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
      // The folder may have been open to others before the plugin refused such a one.
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
    // The plugin has deferred nothing, or makes the folder again.
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
    // It is looked at again the next time.
  }
}
