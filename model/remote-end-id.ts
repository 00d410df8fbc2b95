/**
 * Remote End IDs in objects: text, or hexadecimal digits if not printable. In memory a Remote End ID has one character
 * per octet, so that both forms of the same octets are equal.
 */
import { isText, octetsOf } from "../l2tp/control/remote-end-id.ts";

export interface RemoteEndIdFields {
  readonly remoteEndId?: string;
  readonly remoteEndIdOctets?: string;
}

/** Returns the Remote End ID; undefined: neither field is set. */
export function readRemoteEndId({
  remoteEndId,
  remoteEndIdOctets,
}: RemoteEndIdFields): string | undefined {
  if (remoteEndIdOctets === undefined) return remoteEndId;
  const digits = remoteEndIdOctets.replace(/^0x/i, "");
  return String.fromCharCode(
    ...(digits.match(/../g) ?? []).map((octet) => Number.parseInt(octet, 16)),
  );
}

/** Returns the fields that a status shows. */
export function writeRemoteEndId(remoteEndId: string): RemoteEndIdFields {
  return isText(remoteEndId) ? { remoteEndId } : { remoteEndIdOctets: octetsOf(remoteEndId) };
}

export { describeRemoteEndId } from "../l2tp/control/remote-end-id.ts";
