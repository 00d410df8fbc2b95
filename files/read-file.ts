/** Reads files that may have any content: another process, an administrator or a full disk may have changed them. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;

/**
 * Returns the text of a regular file of at most `maxBytes`. Never blocks, as reading a pipe would. Does not
 * follow a symbolic link at the end of the path.
 * @throws Error that says what the path is instead
 */
export function readTextFile(path: string, maxBytes: number): string {
  const file = open(path);
  try {
    const stat = fstatSync(file);
    if (stat.isDirectory()) throw new Error("is a directory");
    if (!stat.isFile()) throw new Error("is not a regular file");
    if (stat.size > maxBytes) throw new RangeError(`is larger than ${maxBytes} bytes`);
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
    if (code === "ELOOP") throw new Error("is a symbolic link");
    // A socket.
    if (code === "ENXIO") throw new Error("is not a regular file");
    throw error;
  }
}

/** Returns the JSON value in such a file. @throws Error that says why it cannot be read */
export function readJsonFile(path: string, maxBytes: number): unknown {
  const text = readTextFile(path, maxBytes);
  if (text.trim() === "") throw new Error("is empty");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`is not JSON: ${(error as Error).message}`);
  }
}
