import { checked } from "./errno.ts";
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
  const fd = checked(c.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600), "open", path);
  try {
    checked(c.flock(fd, LOCK_EX_NB), "flock", path);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Never fails: a descriptor that cannot be closed is gone all the same. */
export function closeFd(fd: number): void {
  c.close(fd);
}
