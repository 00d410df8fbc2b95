/**
 * Replaces files atomically: a reader finds the old or the new content. An interrupted write leaves at most
 * PATH.new, which the next write removes.
 */
import { lstatSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";

/** Suffix of the file that holds the new content until it is renamed. No reader opens such a name. */
export const UNFINISHED = ".new";
const MOST_ASIDE = 100;

/**
 * Replaces the content of the file. A directory at the path is set aside.
 * @param flush write the content to the disk before the rename, so that it survives a power failure
 * @throws if the content cannot be written; the file is then unchanged
 */
export function replaceFile(path: string, content: string, mode = 0o600, flush = false): void {
  const unfinished = `${path}${UNFINISHED}`;
  try {
    try {
      writeFileSync(unfinished, content, { mode, flag: "wx", flush });
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
      clear(unfinished);
      writeFileSync(unfinished, content, { mode, flag: "wx", flush });
    }
    moveInto(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
}

/** Removes the remainder of an interrupted write. */
export function clear(unfinished: string): void {
  rmSync(unfinished, { recursive: true, force: true });
}

/** Renames a finished file to its final path. A directory at that path is set aside. */
export function moveInto(finished: string, path: string): void {
  try {
    renameSync(finished, path);
  } catch (error) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
    setAside(path);
    renameSync(finished, path);
  }
}

/** Creates the folder with mode 0700. Anything else at the path is set aside. */
export function makeFolder(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  // lstat also finds a dangling symbolic link.
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) setAside(path);
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Renames what is at the path to PATH.aside, PATH.aside2, …, so that its content is not lost. */
export function setAside(path: string): void {
  for (let count = 1; count <= MOST_ASIDE; count++) {
    const aside = `${path}.aside${count === 1 ? "" : count}`;
    if (lstatSync(aside, { throwIfNoEntry: false }) !== undefined) continue;
    return renameSync(path, aside);
  }
  throw new Error(`cannot rename ${path}: ${path}.aside to .aside${MOST_ASIDE} exist; delete them`);
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code;
}
