/** Interfaces of nodes that sessions may have (spec.allowedInterfaces of the tunnel). */
import type { L2tpSession, L2tpTunnel } from "./types.ts";

/**
 * Why the session may not have its interface, and what the tunnel's administrator can do; null: it may, or asks for
 * none. A tunnel that leaves it open allows none: a session is a tenant's, and its interface the node's.
 */
export function whyNotInterface(
  { metadata: { name: tunnel }, spec }: L2tpTunnel,
  { spec: { attachment } }: L2tpSession,
): string | null {
  const name = attachment?.interface;
  if (name === undefined) return null;
  if (spec.allowedInterfaces?.some((pattern) => matches(pattern, name))) return null;
  return `spec.attachment.interface "${name}": L2tpTunnel ${tunnel} does not allow it; its administrator can, in spec.allowedInterfaces`;
}

/** The reason in conditions. The session is taken down, as its administrator means it. */
export const INTERFACE_NOT_ALLOWED = "InterfaceNotAllowed";

/** @param pattern in which * stands for any characters */
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
