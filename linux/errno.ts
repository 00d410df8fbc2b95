import { constants } from "node:os";
import { lastErrno } from "./ffi.ts";

/** Numbers of errno(3); Node knows only those that other systems have, too. */
export const Errno = {
  ...constants.errno,
  EBADFD: 77,
  ESOCKTNOSUPPORT: 94,
};

const NAMES = new Map(Object.entries(Errno).map(([name, number]) => [number, name]));
// It has two names, and the manual pages use this one.
NAMES.set(Errno.EAGAIN, "EAGAIN");

export type ErrnoName = keyof typeof Errno;

export function isErrnoName(text: string): text is ErrnoName {
  return Object.hasOwn(Errno, text);
}

/** A system call that failed. `code` is errno's name, as in Node's own errors. */
export class SystemError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;

  /** @param detail what it was about: a path, an address, a device */
  constructor(errno: number, syscall: string, detail = "") {
    const code = errnoName(errno);
    super(`${syscall}${detail === "" ? "" : ` ${detail}`}: ${code}`);
    this.name = "SystemError";
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
  }
}

export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** Passes the result of a call on, or throws what errno says. */
export function checked(result: number, syscall: string, detail = ""): number {
  if (result < 0) throw new SystemError(lastErrno(), syscall, detail);
  return result;
}

/** True where `error` came from a system call and is one of `codes`. */
export function isErrno(error: unknown, ...codes: ErrnoName[]): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return codes.some((code) => code === error.code);
}
