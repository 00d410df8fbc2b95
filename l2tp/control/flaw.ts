/** Faults of decodable messages, and their result codes (RFC 3931, 5.2 and 7.1). */
import { describeUnknown } from "./foreign-attributes.ts";
import { GeneralError, StopResult } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

export interface Flaw {
  /** "contradictory": a vendor's AVP differs from the IETF's AVP of the same message. */
  readonly what: "unknown" | "malformed" | "missing" | "contradictory";
  readonly vendor: number;
  /** The attribute type. */
  readonly type: number;
  /** The name in the RFC; null: unknown. */
  readonly name: string | null;
  /** True if the session or control connection must end. */
  readonly isFatal: boolean;
}

/** Returns the fault as text: "missing: Host Name". */
export function flawInWords({ what, vendor, type, name }: Flaw): string {
  return `${what}: ${name ?? describeUnknown(vendor, type)}`;
}

/** Returns the result code of a fault. "General error" has the same number in StopCCN and CDN. */
export function complaint(flaw: Flaw): ResultCode {
  const error = flaw.what === "unknown" ? GeneralError.UnknownMandatory : GeneralError.OutOfRange;
  return { result: StopResult.GeneralError, error, message: flawInWords(flaw) };
}
