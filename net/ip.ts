/**
 * IPv4 and IPv6 addresses as 4 or 16 bytes in network order. Parses the text forms of RFC 4291 §2.2, and formats as RFC
 * 5952.
 */

/** Parses an address without scope ID; undefined: not an address. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    // Reject leading zeros: some programs parse them as octal, others as decimal.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[index] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "", halves.length === 1);
  const tail = parseGroups(halves[1] ?? "", true);
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** Parses colon-separated groups, with an IPv4 tail (RFC 4291 §2.2.3) if it is allowed. */
function parseGroups(text: string, allowIpv4Tail: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [index, group] of groups.entries()) {
    if (allowIpv4Tail && index === groups.length - 1 && group.includes(".")) {
      const tail = parseIpv4(group);
      if (tail === undefined) return undefined;
      bytes.push(...tail);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    } else {
      return undefined;
    }
  }
  return bytes;
}

/** Returns the text form of 4 or 16 bytes. */
export function formatAddress(bytes: Uint8Array): string {
  return bytes.length === 4 ? bytes.join(".") : formatIpv6(bytes);
}

function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === "0") length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(":");
  const head = groups.slice(0, best.start).join(":");
  const tail = groups.slice(best.start + best.length).join(":");
  return `${head}::${tail}`;
}

/** Formats an endpoint: "192.0.2.1:5000", "[2001:db8::1]:5000"; without the port if it is 0. */
export function formatEndpoint({ address, port }: { address: string; port: number }): string {
  if (port === 0) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Returns the canonical text form of an address, so that equal addresses are equal strings. */
export function canonicalAddress(text: string): string {
  const bytes = parseAddress(text);
  return bytes === undefined ? text : formatAddress(bytes);
}

export type AddressKind =
  | "unicast"
  | "unspecified"
  | "loopback"
  | "multicast"
  | "broadcast"
  | "link-local"
  | "ipv4-mapped";

/** Returns the kind of the address (RFC 6890). IPv4's link-local range is routed, so it is unicast. */
export function addressKind(bytes: Uint8Array): AddressKind {
  if (bytes.every((byte) => byte === 0)) return "unspecified";
  if (bytes.length === 4) {
    if (bytes.every((byte) => byte === 255)) return "broadcast";
    const first = bytes[0] ?? 0;
    if (first === 127) return "loopback";
    return first >= 224 && first < 240 ? "multicast" : "unicast";
  }
  if (bytes[0] === 0xff) return "multicast";
  if (bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80) return "link-local";
  if (isMapped(bytes)) return "ipv4-mapped";
  return bytes.subarray(0, 15).every((byte) => byte === 0) && bytes[15] === 1
    ? "loopback"
    : "unicast";
}

/** True for an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2). */
function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 12).every((byte, index) => byte === (index < 10 ? 0 : 0xff));
}

export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** Parses "192.0.2.1/24" as address and prefix length; undefined: not a prefix. */
export function parsePrefix(text: string): Prefix | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = parseAddress(match?.[1] ?? "");
  const length = Number(match?.[2]);
  if (address === undefined || length > address.length * 8) return undefined;
  return { address, length };
}

/** Returns the canonical text form of a prefix without host bits, as the kernel lists a route's destination. */
export function canonicalNetwork(text: string): string {
  const prefix = parsePrefix(text);
  return prefix === undefined ? text : formatPrefix(networkOf(prefix));
}

/** Formats a prefix: "192.0.2.0/24". */
export function formatPrefix({ address, length }: Prefix): string {
  return `${formatAddress(address)}/${length}`;
}

/** Returns the prefix without its host bits. */
export function networkOf({ address, length }: Prefix): Prefix {
  const network = address.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, length - index * 8));
    return byte & (0xff00 >> bits) & 0xff;
  });
  return { address: network, length };
}

/** An address of an interface. */
export interface InterfaceAddress extends Prefix {
  /** The peer address of a point-to-point link. The prefix length is then the peer's. */
  readonly peer: Uint8Array | null;
}

/**
 * Parses "192.0.2.1/24", or an address with a peer as in ip-address(8): "10.5.1.2 peer 10.5.1.1", either with a prefix
 * length. Undefined: neither.
 */
export function parseInterfaceAddress(text: string): InterfaceAddress | undefined {
  const match = /^(\S+) peer (\S+)$/.exec(text.trim());
  if (match === null) {
    const prefix = parsePrefix(text);
    return prefix === undefined ? undefined : { ...prefix, peer: null };
  }
  const [, local = "", peer = ""] = match;
  const [own, other] = [parseHost(local), parseHost(peer)];
  if (own === undefined || other === undefined) return undefined;
  if (own.address.length !== other.address.length) return undefined;
  const length = peer.includes("/") ? other.length : own.length;
  return { address: own.address, length, peer: other.address };
}

/** Parses an address or a prefix. The length of an address is all of its bits. */
function parseHost(text: string): Prefix | undefined {
  const address = parseAddress(text);
  return address === undefined ? parsePrefix(text) : { address, length: address.length * 8 };
}

/** Returns the canonical text form of an interface's address, as ip-address(8) shows it. */
export function canonicalInterfaceAddress(text: string): string {
  const parsed = parseInterfaceAddress(text);
  return parsed === undefined ? text : formatInterfaceAddress(parsed);
}

/** Formats an interface's address: "192.0.2.1/24", "10.5.1.2 peer 10.5.1.1/32". */
export function formatInterfaceAddress({ address, length, peer }: InterfaceAddress): string {
  if (peer === null) return formatPrefix({ address, length });
  return `${formatAddress(address)} peer ${formatPrefix({ address: peer, length })}`;
}
