/** Errors of the CNI specification: code, message and details. */

export const CniCode = {
  IncompatibleVersion: 1,
  UnsupportedField: 2,
  UnknownContainer: 3,
  InvalidEnvironment: 4,
  IoFailure: 5,
  DecodingFailure: 6,
  InvalidConfig: 7,
  InvalidNetns: 8,
  TryAgainLater: 11,
  NotAvailable: 50,
  // Codes of this plugin (the specification reserves 0 to 99).
  UnknownSession: 100,
  SessionBusy: 101,
  InterfaceExists: 102,
  NamespaceMismatch: 103,
  Drift: 104,
  Internal: 999,
} as const;

/** An error in the form that the plugin prints. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = "") {
    super(message);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}

/** Returns a CniError unchanged, and any other error with the code Internal. */
export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  return new CniError(CniCode.Internal, error instanceof Error ? error.message : String(error));
}
