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
 * Takes the lock that the file stands for, until the process ends; the kernel gives it back then.
 * @throws SystemError EAGAIN where another process has it
 */
export function lockFile(path: string): void {
  try {
    // Whatever is there will do, a directory too, and it must not be waited for.
    lock(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    lock(path, O_RDWR | O_CREAT | O_CLOEXEC);
  }
}

/**
 * Takes the lock of the folder itself, for as long. No file in it is needed, and none can be in the
 * way.
 * @throws SystemError EAGAIN where another process has it
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
 * The process that has the lock of the path, as far as this one can see it: null in another PID
 * namespace.
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

/** Never fails: a descriptor that cannot be closed is gone all the same. */
export function closeFd(fd: number): void {
  c.close(fd);
}
