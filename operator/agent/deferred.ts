/** What CNI was asked while the agent was down: files that it left for the agent to replay. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Tombstone } from "./protocol.ts";
import { checkRequest } from "./request.ts";

const MAX_TOMBSTONES = 10_000;

/**
 * Hands each tombstone to `replay`, the oldest first, and removes it when that has succeeded; what
 * fails is told to `failed`, and tried again the next time. One that makes no sense is removed.
 */
export async function replayTombstones(
  folder: string,
  replay: (tombstone: Tombstone) => Promise<unknown>,
  failed: (path: string, error: unknown) => void,
): Promise<void> {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  for (const name of names.sort().slice(0, MAX_TOMBSTONES)) {
    if (!name.endsWith(".json")) continue;
    const path = join(folder, name);
    const tombstone = readTombstone(path);
    try {
      if (tombstone !== null) await replay(tombstone);
      rmSync(path, { force: true });
    } catch (error) {
      failed(path, error);
    }
  }
}

function readTombstone(path: string): Tombstone | null {
  try {
    const request = checkRequest(JSON.parse(readFileSync(path, "utf8")));
    return request.op === "detach" || request.op === "gc" ? request : null;
  } catch {
    return null;
  }
}
