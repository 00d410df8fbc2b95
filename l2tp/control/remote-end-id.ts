/** Remote End IDs name circuits: text, or any octets. In memory each octet is one character (value-formats.ts). */

const PRINTABLE = /^[ -~]+$/;

/** True if people can read it as text. */
export function isText(remoteEndId: string): boolean {
  return PRINTABLE.test(remoteEndId);
}

/** "002a". */
export function octetsOf(remoteEndId: string): string {
  return Array.from(remoteEndId, (character) =>
    character.charCodeAt(0).toString(16).padStart(2, "0"),
  ).join("");
}

/** The longest of a peer's that anybody is shown. */
const MAX_SHOWN = 255;

/** "lan" with its quotes; of octets that are no text: 0x002a. */
export function describeRemoteEndId(remoteEndId: string): string {
  const shown = remoteEndId.slice(0, MAX_SHOWN);
  if (isText(shown) || shown === "") return JSON.stringify(shown);
  return `0x${octetsOf(shown)}`;
}
