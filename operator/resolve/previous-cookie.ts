/** The previous cookie, which a session also accepts while its peer changes the cookie (RFC 8159, section 3). */
import type { DatapathTraits } from "../../model/datapath.ts";
import { describeProblem } from "../../model/problem.ts";
import type { L2tpSession } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";

const PATH = "spec.cookies.receivePrevious";

/** Returns why a datapath cannot accept the session's previous cookie, starting with the field; null: it can. */
export function whyNotPreviousCookie(
  { spec }: Pick<L2tpSession, "spec">,
  { acceptsPreviousCookie }: Pick<DatapathTraits, "acceptsPreviousCookie">,
): string | null {
  if (acceptsPreviousCookie || spec.cookies?.receivePrevious === undefined) return null;
  return `${PATH}: the kernel accepts only one cookie for each session`;
}

/**
 * Returns the previous cookie, if it is valid.
 * @param previous the value of receivePrevious, "" without one; from the spec or a Secret, as `cookie`
 * @returns null: the session accepts only `cookie`
 * @throws RefusalError if it equals `cookie` or has another length
 */
export function previousCookie(previous: string, cookie: string): string | null {
  if (previous === "") return null;
  const problem = whatIsWrong(previous, cookie);
  if (problem === null) return previous;
  // The message omits the value, because a cookie is secret.
  const message = describeProblem({ path: PATH, value: undefined, ...problem });
  throw new RefusalError("Accepted", "Invalid", message);
}

function whatIsWrong(previous: string, cookie: string) {
  if (previous === cookie) {
    const reason = "duplicates spec.cookies.receive";
    return { reason, remedy: "set it to the cookie that the peer still sends, or omit it" };
  }
  if (previous.length === cookie.length) return null;
  const reason = `${previous.length / 2} bytes, but spec.cookies.receive has ${cookie.length / 2}`;
  return { reason, remedy: "use two cookies of the same length" };
}
