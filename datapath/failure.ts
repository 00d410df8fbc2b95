/** Codes for why a datapath could not apply a change. Programs compare them, and the status depends on them. */
import { type ErrnoName, isErrnoName } from "../linux/errno.ts";

const DATAPATH_CODES = [
  /** The datapath process is not running. */
  "EDATAPATH",
  /** A tunnel, session or device that l2tp-cni did not create uses the ID or the name. */
  "NotOurs",
  /** The kernel does not have (yet) the tunnel that another datapath must create from its socket. */
  "NoSocket",
  /** The session's tunnel does not exist. */
  "NoTunnel",
  /** Sessions of this pseudowire type have no device. */
  "NoDevice",
  "UnknownPseudowireType",
] as const;

export type DatapathErrorCode = (typeof DATAPATH_CODES)[number];

/** "Internal": an unexpected error. */
export type FailureCode = ErrnoName | DatapathErrorCode | "Internal";

/** Returns the code of an error or reply; "Internal" for an unknown code, which another version may send. */
export function failureCode(error: unknown): FailureCode {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  if (typeof code !== "string") return "Internal";
  if (isErrnoName(code)) return code;
  return DATAPATH_CODES.find((known) => known === code) ?? "Internal";
}
