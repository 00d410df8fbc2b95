/**
 * Sessions that are switched to others: each switch adds its name to the calls that it places (AVP 93,
 * draft-ietf-l2tpext-tunnel-switching-06), and refuses a call that has come by it before.
 */
import type { Attributes } from "./attributes.ts";
import { DisconnectResult, GeneralError } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

/**
 * Why a call may not be switched; null: it may.
 * @param aggregators our own name, and those that the other session's call came by; none: the session is not switched
 */
export function loopOf(
  aggregators: readonly string[],
  { aggregators: said = [] }: Attributes,
): ResultCode | null {
  const again = aggregators.find((name) => said.includes(name));
  if (again === undefined) return null;
  const message = `the call has come by the switch ${again} before`;
  return { result: DisconnectResult.LoopDetected, error: GeneralError.None, message };
}
