/**
 * How objects write a Remote End ID: as text, or in hexadecimal digits where it is none. In memory it has one character
 * an octet, so that both forms of the same octets are the same.
 */
import { isText, octetsOf } from "../l2tp/control/remote-end-id.ts";

export interface RemoteEndIdFields {
  readonly remoteEndId?: string;
  readonly remoteEndIdOctets?: string;
}

/** undefined: neither field is there. */
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

/** As a status shows it. */
export function writeRemoteEndId(remoteEndId: string): RemoteEndIdFields {
  return isText(remoteEndId) ? { remoteEndId } : { remoteEndIdOctets: octetsOf(remoteEndId) };
}

export { describeRemoteEndId } from "../l2tp/control/remote-end-id.ts";
