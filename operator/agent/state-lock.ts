/** One agent at a time on a state folder: two would take each other's pods away. */
import { mkdirSync } from "node:fs";
import { isErrno } from "../../linux/errno.ts";
import { lockFolder, lockHolder } from "../../linux/fd.ts";

/**
 * Creates the folder if it is missing, and locks it until this process ends, in whatever way.
 * @throws Error that says who has it, and what to do
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
