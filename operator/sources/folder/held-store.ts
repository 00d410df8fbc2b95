/**
 * Stores the claims of objects in a file of the state folder, so that each object keeps its claims over a restart of
 * the node.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { apiNames } from "../../../datapath/registry/datapaths.ts";
import { readJsonFile, readTextFile } from "../../../files/read-file.ts";
import { replaceFile } from "../../../files/replace-file.ts";
import type { HeldObject } from "../../../model/conflicts.ts";
import { readRemoteEndId } from "../../../model/remote-end-id.ts";
import type { HeldObjects } from "../../resolve/held.ts";

const FILE = "held.json";
const MAX_FILE_BYTES = 64 * 1024 * 1024;

type Json = Readonly<Record<string, unknown>>;

export class HeldStore {
  readonly #path: string;
  #held: HeldObjects;
  #written = "";

  constructor(stateFolder: string) {
    this.#path = join(stateFolder, FILE);
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
    const text = readText(this.#path);
    this.#held = parse(text) ?? fromStatus(join(stateFolder, "status"), text === null);
  }

  get held(): HeldObjects {
    return this.#held;
  }

  /** Stores the claims. @returns the error; `held` has the claims until the next start all the same */
  write(held: HeldObjects): Error | null {
    this.#held = held;
    const { tunnels, sessions } = held;
    const content = {
      tunnels: Object.fromEntries(tunnels),
      sessions: Object.fromEntries(sessions),
    };
    const text = `${JSON.stringify(content, null, 2)}\n`;
    if (text === this.#written) return null;
    try {
      // Synced to disk: the peer's administrator may use the IDs of the status before a power failure.
      replaceFile(this.#path, text, 0o600, true);
      this.#written = text;
      return null;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

/** Returns the file's text; null: no file; "": not readable. */
function readText(path: string): string | null {
  try {
    return readTextFile(path, MAX_FILE_BYTES);
  } catch (error) {
    return (error as { code?: unknown }).code === "ENOENT" ? null : "";
  }
}

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns the stored claims; null: the text is not a file of this store. */
function parse(text: string | null): HeldObjects | null {
  try {
    const content: unknown = JSON.parse(text ?? "");
    if (!isObject(content)) return null;
    const { tunnels, sessions } = content;
    if (!isObject(tunnels) || !isObject(sessions)) return null;
    return { tunnels: entries(tunnels), sessions: entries(sessions) };
  } catch {
    return null;
  }
}

function entries(items: Json): Map<string, HeldObject> {
  const pairs = Object.entries(items).filter((pair): pair is [string, HeldObject] =>
    isHeld(pair[1]),
  );
  return new Map(pairs);
}

const isText = (value: unknown): value is string => typeof value === "string";

function isHeld(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { claims, since, id, remoteEndId, datapath, isRefused } = value;
  return (
    isText(since) &&
    (isRefused === undefined || isRefused === true) &&
    (claims === null || (Array.isArray(claims) && claims.every(isText))) &&
    (id === undefined || typeof id === "number") &&
    (remoteEndId === undefined || isText(remoteEndId)) &&
    (datapath === undefined || (isText(datapath) && apiNames.has(datapath)))
  );
}

/**
 * Returns claims from the status files, if no file has them: an older agent stored no claims, and the Remote End ID of
 * its sessions was the name without the namespace.
 * @param isFirst true if there has never been a file, so no file is damaged
 */
function fromStatus(folder: string, isFirst: boolean): HeldObjects {
  const tunnels = new Map<string, HeldObject>();
  const sessions = new Map<string, HeldObject>();
  for (const { kind, metadata, status } of statusFiles(folder)) {
    const since = acceptedSince(status);
    const { name, namespace } = metadata;
    if (since === null || !isText(name)) continue;
    const held = { claims: null, since };
    if (kind === "L2tpTunnel") tunnels.set(name, { ...held, ...idIn(status.tunnelId) });
    if (kind !== "L2tpSession" || !isText(namespace)) continue;
    const remoteEndId = decidedName(status, isFirst ? name : null);
    sessions.set(`${namespace}/${name}`, { ...held, ...idIn(status.sessionId), ...remoteEndId });
  }
  return { tunnels, sessions };
}

const idIn = (id: unknown) => (typeof id === "number" ? { id } : {});

function decidedName({ remoteEndId, remoteEndIdOctets }: Json, other: string | null) {
  const said = readRemoteEndId({
    ...(isText(remoteEndId) && { remoteEndId }),
    ...(isText(remoteEndIdOctets) && { remoteEndIdOctets }),
  });
  const name = said ?? other;
  return name === null ? {} : { remoteEndId: name };
}

function acceptedSince({ conditions }: Json): string | null {
  if (!Array.isArray(conditions)) return null;
  const accepted: unknown = conditions.find((item) => isObject(item) && item.type === "Accepted");
  if (!isObject(accepted) || accepted.status !== "True") return null;
  return isText(accepted.lastTransitionTime) ? accepted.lastTransitionTime : null;
}

/** Returns all readable status files. */
function statusFiles(folder: string) {
  const names = readNames(folder).filter((name) => name.endsWith(".json"));
  return names.flatMap((name) => {
    try {
      const file: unknown = readJsonFile(join(folder, name), MAX_FILE_BYTES);
      if (!isObject(file)) return [];
      const { kind, metadata, status } = file;
      return isObject(metadata) && isObject(status) ? [{ kind, metadata, status }] : [];
    } catch {
      return [];
    }
  });
}

function readNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
