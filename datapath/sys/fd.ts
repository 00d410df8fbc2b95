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

/** Never fails: a descriptor that cannot be closed is gone all the same. */
export function closeFd(fd: number): void {
  c.close(fd);
}
