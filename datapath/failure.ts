/** Why a datapath could not make a change: codes that programs compare, and the status is chosen by. */
import { type ErrnoName, isErrnoName } from "../linux/errno.ts";

const DATAPATH_CODES = [
  /** The datapath process does not run. */
  "EDATAPATH",
  /** A tunnel, a session or a device that somebody else made is in the way. */
  "NotOurs",
  /** The kernel does not have the tunnel that was to be made from a socket, or not yet. */
  "NoSocket",
  /** A session's tunnel is not there. */
  "NoTunnel",
  /** Sessions of the pseudowire type have no devices. */
  "NoDevice",
  "UnknownPseudowireType",
] as const;

export type DatapathErrorCode = (typeof DATAPATH_CODES)[number];

/** "Internal": an error that nobody expects. */
export type FailureCode = ErrnoName | DatapathErrorCode | "Internal";

/** The code of an error, or of a reply; one of another version that this one does not know is "Internal". */
export function failureCode(error: unknown): FailureCode {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  if (typeof code !== "string") return "Internal";
  if (isErrnoName(code)) return code;
  return DATAPATH_CODES.find((known) => known === code) ?? "Internal";
}
