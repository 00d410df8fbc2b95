/** Makes room for a listening unix socket. */
import { lstatSync, rmdirSync, rmSync } from "node:fs";

/**
 * Removes what is at the path. The caller has made sure that nobody listens there.
 * @throws Error if it is a directory that is not empty: its content must not be lost
 */
export function removeStaleSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return rmSync(path, { force: true });
  }
  try {
    rmdirSync(path);
  } catch {
    throw new Error(`${path}: a directory that is not empty is there, and no socket can be`);
  }
}
