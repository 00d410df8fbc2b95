/** What is wrong with a message that can be told apart from others, and what is said of it (RFC 3931, 5.2 and 7.1). */
import { describeUnknown } from "./foreign-attributes.ts";
import { GeneralError, StopResult } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

export interface Flaw {
  /** "contradictory": a vendor's AVP says something else than the IETF's beside it. */
  readonly what: "unknown" | "malformed" | "missing" | "contradictory";
  readonly vendor: number;
  /** The attribute type. */
  readonly type: number;
  /** As the RFC calls it; null: unknown. */
  readonly name: string | null;
  /** Whether the session or the control connection must end for it. */
  readonly isFatal: boolean;
}

/** "missing: Host Name". */
export function flawInWords({ what, vendor, type, name }: Flaw): string {
  return `${what}: ${name ?? describeUnknown(vendor, type)}`;
}

/** For a StopCCN or a CDN: "general error" has the same number in both. */
export function complaint(flaw: Flaw): ResultCode {
  const error = flaw.what === "unknown" ? GeneralError.UnknownMandatory : GeneralError.OutOfRange;
  return { result: StopResult.GeneralError, error, message: flawInWords(flaw) };
}
