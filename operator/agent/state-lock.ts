/** Ensures one agent per state folder: two agents would delete each other's interfaces. */
import { mkdirSync } from "node:fs";
import { isErrno } from "../../linux/errno.ts";
import { lockFolder, lockHolder } from "../../linux/fd.ts";

/**
 * Creates the folder if it is missing, and locks it until this process ends.
 * @throws Error that names the owner and the remedy
 */
export function lockStateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    lockFolder(path);
  } catch (error) {
    if (isErrno(error, "EAGAIN")) throw new Error(describeHolder(path));
    const remedy = "use a folder on a local disk that root can write to";
    throw new Error(`--state-dir ${path}: ${(error as Error).message}; ${remedy}`);
  }
}

function describeHolder(path: string): string {
  const holder = lockHolder(path);
  const who = holder === null ? "another process" : `process ${holder.pid} (${holder.name})`;
  return `${who} uses the state folder ${path}; stop it, or set another --state-dir and --socket for this agent`;
}
