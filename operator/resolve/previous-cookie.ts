/** The cookie that a session accepts besides its own, while its peer changes from one to the other (RFC 8159, section 3). */
import type { DatapathTraits } from "../../model/datapath.ts";
import { describeProblem } from "../../model/problem.ts";
import type { L2tpSession } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";

const PATH = "spec.cookies.receivePrevious";

/** Why a datapath cannot accept the session's previous cookie, beginning with the field; null: it can. */
export function whyNotPreviousCookie(
  { spec }: Pick<L2tpSession, "spec">,
  { acceptsPreviousCookie }: Pick<DatapathTraits, "acceptsPreviousCookie">,
): string | null {
  if (acceptsPreviousCookie || spec.cookies?.receivePrevious === undefined) return null;
  return `${PATH}: the kernel accepts one cookie of a session`;
}

/**
 * Both as they were read: a Secret may hold either.
 * @returns null: the session accepts one cookie
 * @throws RefusalError
 */
export function previousCookie(previous: string, cookie: string): string | null {
  if (previous === "") return null;
  const problem = whatIsWrong(previous, cookie);
  if (problem === null) return previous;
  // A cookie is a secret.
  const message = describeProblem({ path: PATH, value: undefined, ...problem });
  throw new RefusalError("Accepted", "Invalid", message);
}

function whatIsWrong(previous: string, cookie: string) {
  if (previous === cookie) {
    const reason = "the same cookie as spec.cookies.receive";
    return { reason, remedy: "set it to the cookie that the peer still sends, or leave it out" };
  }
  if (previous.length === cookie.length) return null;
  const reason = `${previous.length / 2} bytes, but spec.cookies.receive has ${cookie.length / 2}`;
  return { reason, remedy: "use cookies of one length" };
}
