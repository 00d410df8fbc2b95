/** Result and error codes of StopCCN and CDN, with their texts (RFC 3931, 5.4.2). */
import { printable } from "./printable.ts";
import type { ResultCode } from "./value-formats.ts";

/** Result codes of a StopCCN. */
export const StopResult = {
  Clear: 1,
  GeneralError: 2,
  AlreadyExists: 3,
  NotAuthorized: 4,
  VersionNotSupported: 5,
  ShuttingDown: 6,
  StateMachine: 7,
} as const;

/** Result codes of a CDN. */
export const DisconnectResult = {
  LossOfCarrier: 1,
  GeneralError: 2,
  Administrative: 3,
  NoFacilitiesNow: 4,
  NoFacilities: 5,
  LostTieBreaker: 13,
  UnsupportedPseudowireType: 14,
  SequencingWithoutSublayer: 15,
  StateMachine: 16,
  LoopDetected: 26,
} as const;

/** Error codes of a general error. */
export const GeneralError = {
  None: 0,
  NoControlConnection: 1,
  WrongLength: 2,
  OutOfRange: 3,
  NoResources: 4,
  InvalidSessionId: 5,
  VendorSpecific: 6,
  TryAnother: 7,
  UnknownMandatory: 8,
  TryAnotherDirected: 9,
} as const;

const STOP_WORDS: Readonly<Record<number, string>> = {
  1: "general request to clear the control connection",
  2: "general error",
  3: "the control connection already exists",
  4: "not authorized to establish a control connection",
  5: "the protocol version is not supported",
  6: "shutting down",
  7: "state machine error or timeout",
};

const DISCONNECT_WORDS: Readonly<Record<number, string>> = {
  1: "loss of carrier or circuit disconnect",
  2: "general error",
  3: "administrative reasons",
  4: "no facilities at the moment",
  5: "no facilities",
  13: "lost the tie breaker",
  14: "unsupported pseudowire type",
  15: "sequencing requires an L2-Specific Sublayer",
  16: "state machine error or timeout",
  26: "loop detected",
};

const ERROR_WORDS: Readonly<Record<number, string>> = {
  1: "no control connection exists yet",
  2: "wrong length",
  3: "value out of range",
  4: "insufficient resources",
  5: "invalid session ID",
  6: "vendor-specific error",
  7: "try another peer",
  8: "unknown mandatory AVP",
  9: "try another peer",
};

/** Returns the text of a result code: "general error: wrong length (4 octets of 2)". */
export function describeResult(
  of: "StopCCN" | "CDN",
  { result, error, message }: ResultCode,
): string {
  const words = (of === "StopCCN" ? STOP_WORDS : DISCONNECT_WORDS)[result] ?? `result ${result}`;
  const why = error ? `: ${ERROR_WORDS[error] ?? `error ${error}`}` : "";
  return `${words}${why}${message === undefined ? "" : ` (${printable(message)})`}`;
}
