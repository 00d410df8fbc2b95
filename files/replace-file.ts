/**
 * Files that are replaced as a whole: a reader finds the content before or the content after, and
 * an interrupted write leaves at most PATH.new, which the next write removes.
 */
import { lstatSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";

/**
 * Ends the name of the file that holds the content until it takes its place. No reader of ours
 * opens such a name.
 */
export const UNFINISHED = ".new";
const MOST_ASIDE = 100;

/**
 * Writes `content` in place of the file. A directory in its way is set aside.
 * @param flush the content is on the disk before it takes its place, whatever the power does
 * @throws where the folder does not take it; then the file is as it was
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

/** Removes what an interrupted write has left at the path. */
export function clear(unfinished: string): void {
  rmSync(unfinished, { recursive: true, force: true });
}

/** Renames a finished file to its place. A directory in its way is set aside. */
export function moveInto(finished: string, path: string): void {
  try {
    renameSync(finished, path);
  } catch (error) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
    setAside(path);
    renameSync(finished, path);
  }
}

/** Creates the folder, only for its owner. What bears its name and is not a folder is set aside. */
export function makeFolder(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  // A symbolic link that leads nowhere has an entry, too.
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) setAside(path);
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Renames what is in the way, so that its content is not lost: PATH.aside, PATH.aside2, … */
export function setAside(path: string): void {
  for (let count = 1; count <= MOST_ASIDE; count++) {
    const aside = `${path}.aside${count === 1 ? "" : count}`;
    if (lstatSync(aside, { throwIfNoEntry: false }) !== undefined) continue;
    return renameSync(path, aside);
  }
  throw new Error(
    `${path} is in the way, and ${path}.aside to .aside${MOST_ASIDE} exist; delete them`,
  );
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code;
}
