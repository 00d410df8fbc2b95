/** What is wrong with a message that can be told apart from others, and what is said of it (RFC 3931, 5.2 and 7.1). */
import { GeneralError, StopResult } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

export interface Flaw {
  readonly what: "unknown" | "malformed" | "missing";
  readonly vendor: number;
  /** The attribute type. */
  readonly type: number;
  /** As the RFC calls it; null: unknown. */
  readonly name: string | null;
  /** Whether the session or the control connection must end for it. */
  readonly isFatal: boolean;
}

/** For a StopCCN or a CDN: "general error" has the same number in both. */
export function complaint({ what, type, name }: Flaw): ResultCode {
  const message = `${what}: ${name ?? `AVP ${type}`}`;
  const error = what === "unknown" ? GeneralError.UnknownMandatory : GeneralError.OutOfRange;
  return { result: StopResult.GeneralError, error, message };
}
