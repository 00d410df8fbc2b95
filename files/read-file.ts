/**
 * Files that may hold anything: another process, an administrator or a full disk may have been at
 * them.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;

/**
 * The text of a regular file of at most `maxBytes`. It never waits, as a pipe would have it, and
 * follows no symbolic link at the path's end.
 * @throws Error that says what else is there
 */
export function readTextFile(path: string, maxBytes: number): string {
  const file = open(path);
  try {
    const stat = fstatSync(file);
    if (stat.isDirectory()) throw new Error("it is a directory");
    if (!stat.isFile()) throw new Error("it is not a regular file");
    if (stat.size > maxBytes) throw new RangeError(`it is larger than ${maxBytes} bytes`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function open(path: string): number {
  try {
    return openSync(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ELOOP") throw new Error("it is a symbolic link");
    // A socket.
    if (code === "ENXIO") throw new Error("it is not a regular file");
    throw error;
  }
}

/** The JSON in such a file. @throws Error that says why there is none */
export function readJsonFile(path: string, maxBytes: number): unknown {
  const text = readTextFile(path, maxBytes);
  if (text.trim() === "") throw new Error("it is empty");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`it is not JSON: ${(error as Error).message}`);
  }
}
