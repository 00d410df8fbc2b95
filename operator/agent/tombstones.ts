/** What CNI was asked while the agent was down: files that it left for the agent to replay. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Tombstone } from "./protocol.ts";

const MAX_TOMBSTONES = 10_000;

/**
 * Hands each tombstone to `replay`, the oldest first, and removes it when that has succeeded. One that
 * cannot be read is removed too: it can never say more.
 */
export async function replayTombstones(
  folder: string,
  replay: (tombstone: Tombstone) => Promise<unknown>,
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
    if (tombstone !== null) await replay(tombstone);
    rmSync(path, { force: true });
  }
}

function readTombstone(path: string): Tombstone | null {
  try {
    const content = JSON.parse(readFileSync(path, "utf8")) as Partial<Tombstone> | null;
    return content?.op === "detach" || content?.op === "gc" ? (content as Tombstone) : null;
  } catch {
    return null;
  }
}
