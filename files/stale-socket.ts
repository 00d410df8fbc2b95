/** Removes the socket file of a process that has exited. */
import { lstatSync, rmdirSync, rmSync } from "node:fs";

/**
 * Removes what is at the path. The caller must make sure that no process listens there.
 * @throws Error for a directory that is not empty, because its content must not be lost
 */
export function removeStaleSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return rmSync(path, { force: true });
  }
  try {
    rmdirSync(path);
  } catch {
    throw new Error(`${path}: is a directory that is not empty; delete it, or use another path`);
  }
}
