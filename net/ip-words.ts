/** Describes the header of an IP datagram. */
import { IP_PROTOCOL, parseIpPacket } from "./ip-packet.ts";

const WORDS: Readonly<Record<number, string>> = {
  [IP_PROTOCOL.icmp]: "ICMP",
  6: "TCP",
  [IP_PROTOCOL.udp]: "UDP",
  [IP_PROTOCOL.icmp6]: "ICMPv6",
  [IP_PROTOCOL.l2tp]: "L2TP",
};

export interface IpWords {
  readonly source: string;
  readonly destination: string;
  /** "ICMP", "TCP", "protocol 47". */
  readonly protocol: string;
}

/** Describes the datagram at offset `at`; null: not IP, not the first fragment, or truncated within the headers. */
export function describeIp(octets: Uint8Array, at: number): IpWords | null {
  const packet = parseIpPacket(octets.subarray(at));
  if (packet === null) return null;
  const { source, destination, protocol } = packet;
  return { source, destination, protocol: WORDS[protocol] ?? `protocol ${protocol}` };
}
