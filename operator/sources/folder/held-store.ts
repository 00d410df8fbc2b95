/**
 * Keeps the claims of objects in a file of the state folder, so that no object has what another had
 * before a restart of the node.
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

  /** @returns what went wrong; it counts until the next start all the same */
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
      // To the disk: a status that says so may be read by the peer's administrator before a power cut.
      replaceFile(this.#path, text, 0o600, true);
      this.#written = text;
      return null;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

/** Null: there is none that can be read. */
function readText(path: string): string | null {
  try {
    return readTextFile(path, MAX_FILE_BYTES);
  } catch (error) {
    return (error as { code?: unknown }).code === "ENOENT" ? null : "";
  }
}

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Null: nothing that we have written. */
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
 * Reads the status files if there is no such file yet: an older agent accepted objects, and kept no
 * claims. Peers knew its sessions by their names alone.
 * @param isFirst there has never been a file: none is damaged or lost
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

/** All that can be read. */
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
