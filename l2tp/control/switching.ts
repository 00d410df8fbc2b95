/**
 * Loop detection for switched sessions. Each switch adds its name to the calls that it places (AVP 93,
 * draft-ietf-l2tpext-tunnel-switching-06), and rejects a call that has already passed the switch.
 */
import { DisconnectResult, GeneralError } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

/**
 * Returns why a call would be a loop; null: it would not.
 * @param aggregators our name and the names that the partner's call has passed; none: the session is not switched
 * @param said the names that the call has passed
 */
export function loopOf(aggregators: readonly string[], said: readonly string[]): ResultCode | null {
  const again = aggregators.find((name) => said.includes(name));
  if (again === undefined) return null;
  const message = `the call has already passed the switch ${again}`;
  return { result: DisconnectResult.LoopDetected, error: GeneralError.None, message };
}
