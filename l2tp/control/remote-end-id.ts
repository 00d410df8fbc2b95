/**
 * Remote End IDs, which name circuits: text, or any octets. In memory each octet is one character (value-formats.ts).
 */

const PRINTABLE = /^[ -~]+$/;

/** True if it is printable text. */
export function isText(remoteEndId: string): boolean {
  return PRINTABLE.test(remoteEndId);
}

/** Returns the octets in hexadecimal digits: "002a". */
export function octetsOf(remoteEndId: string): string {
  return Array.from(remoteEndId, (character) =>
    character.charCodeAt(0).toString(16).padStart(2, "0"),
  ).join("");
}

/** Maximum length of a displayed Remote End ID from a peer. */
const MAX_SHOWN = 255;

/** Returns "lan" with quotes, or 0x002a if not printable text. */
export function describeRemoteEndId(remoteEndId: string): string {
  const shown = remoteEndId.slice(0, MAX_SHOWN);
  if (isText(shown) || shown === "") return JSON.stringify(shown);
  return `0x${octetsOf(shown)}`;
}
