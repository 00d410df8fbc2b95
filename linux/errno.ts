import { constants } from "node:os";
import { lastErrno } from "./ffi.ts";

/** Numbers of errno(3). Node has only those that other systems have, too. */
export const Errno = {
  ...constants.errno,
  EBADFD: 77,
  ESOCKTNOSUPPORT: 94,
};

const NAMES = new Map(Object.entries(Errno).map(([name, number]) => [number, name]));
// The number has two names. The manual pages use this one.
NAMES.set(Errno.EAGAIN, "EAGAIN");

export type ErrnoName = keyof typeof Errno;

/** True for names of the table, such as "ENOENT". */
export function isErrnoName(text: string): text is ErrnoName {
  return Object.hasOwn(Errno, text);
}

/** A failed system call. `code` is the errno's name, as in Node's errors. */
export class SystemError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;

  /** @param detail the object of the call: a path, an address, a device */
  constructor(errno: number, syscall: string, detail = "") {
    const code = errnoName(errno);
    super(`${syscall}${detail === "" ? "" : ` ${detail}`}: ${code}`);
    this.name = "SystemError";
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
  }
}

/** Returns the name of an errno: "ENODEV"; "errno 999" for an unknown number. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** Returns the result of a call. @throws SystemError with errno if the result is negative */
export function checked(result: number, syscall: string, detail = ""): number {
  if (result < 0) throw new SystemError(lastErrno(), syscall, detail);
  return result;
}

/** True if `error` is from a system call and its code is one of `codes`. */
export function isErrno(error: unknown, ...codes: ErrnoName[]): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return codes.some((code) => code === error.code);
}
