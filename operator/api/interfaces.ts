/** Node interfaces that sessions can use (spec.allowedInterfaces of the tunnel). */
import type { L2tpSession, L2tpTunnel } from "./types.ts";

/**
 * Returns why the tunnel does not allow the session's interface, with the remedy; null: the tunnel allows it, or the
 * session has none. The default is no interface, because users own sessions, and administrators own node interfaces.
 */
export function whyNotInterface(
  { metadata: { name: tunnel }, spec }: L2tpTunnel,
  { spec: { attachment } }: L2tpSession,
): string | null {
  const name = attachment?.interface;
  if (name === undefined) return null;
  if (spec.allowedInterfaces?.some((pattern) => matches(pattern, name))) return null;
  return `spec.attachment.interface: "${name}": L2tpTunnel ${tunnel} does not allow this interface; ask its administrator to add it to spec.allowedInterfaces`;
}

/** The reason in conditions. It is a decision of the administrator, so the session is deleted from the node. */
export const INTERFACE_NOT_ALLOWED = "InterfaceNotAllowed";

/** @param pattern a name in which * matches any characters */
function matches(pattern: string, name: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return pattern === name;
  if (name.length < first.length + last.length) return false;
  if (!name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - last.length;
}
