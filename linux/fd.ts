import { constants, readFileSync, statSync } from "node:fs";
import { checked, isErrno } from "./errno.ts";
import { c } from "./ffi.ts";

export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

/** @throws SystemError naming the path */
export function openFd(path: string, flags: number): number {
  return checked(c.open(path, flags, 0), "open", path);
}

const O_CREAT = 0o100;
const LOCK_EX_NB = 2 | 4;

/**
 * Locks the file until the process ends. The kernel then releases the lock.
 * @throws SystemError EAGAIN if another process has the lock
 */
export function lockFile(path: string): void {
  try {
    // Any existing file is usable, even a directory. O_NONBLOCK: a FIFO must not block the open.
    lock(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    lock(path, O_RDWR | O_CREAT | O_CLOEXEC);
  }
}

/**
 * Locks the folder until the process ends, independent of the files in it.
 * @throws SystemError EAGAIN if another process has the lock
 */
export function lockFolder(path: string): void {
  lock(path, O_RDONLY | constants.O_DIRECTORY | O_CLOEXEC);
}

function lock(path: string, flags: number): void {
  const fd = checked(c.open(path, flags, 0o600), "open", path);
  try {
    checked(c.flock(fd, LOCK_EX_NB), "flock", path);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * Returns the process that has the lock of the path; null: none, or a process in another PID namespace.
 */
export function lockHolder(path: string): { readonly pid: number; readonly name: string } | null {
  try {
    const { ino } = statSync(path);
    const line = readFileSync("/proc/locks", "utf8")
      .split("\n")
      .map((text) => text.trim().split(/\s+/))
      // "1: FLOCK ADVISORY WRITE 1234 fe:01:4711 0 EOF"
      .find(([, kind, , , , file]) => kind === "FLOCK" && file?.split(":")[2] === String(ino));
    const pid = Number(line?.[4] ?? 0);
    return pid > 0 ? { pid, name: readFileSync(`/proc/${pid}/comm`, "utf8").trim() } : null;
  } catch {
    return null;
  }
}

/** Closes a descriptor. Never fails: Linux releases the descriptor even if close(2) reports an error. */
export function closeFd(fd: number): void {
  c.close(fd);
}
