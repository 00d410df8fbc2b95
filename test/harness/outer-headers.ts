/** The outer IP header of a pseudowire's packets. */

import type { FramePort } from "./frames.ts";
import { until } from "./wait.ts";

const ETHERNET_BYTES = 14;
const IPV6_VERSION = 6;

export interface OuterHeader {
  /** DSCP and ECN. */
  readonly trafficClass: number;
  readonly hopLimit: number;
  /** The bit "don't fragment"; always true for IPv6. */
  readonly dontFragment: boolean;
  readonly frame: Buffer;
}

/** The next packet on the wire that contains the octets. */
export async function packetWith(port: FramePort, octets: Buffer): Promise<OuterHeader> {
  const frame = await until("a packet contains the octets", () => {
    for (let next = port.receive(); next !== null; next = port.receive()) {
      if (next.includes(octets)) return next;
    }
    return undefined;
  });
  return headerOf(frame);
}

function headerOf(frame: Buffer): OuterHeader {
  const ip = frame.subarray(ETHERNET_BYTES);
  const isIpv6 = (ip[0] ?? 0) >> 4 === IPV6_VERSION;
  return isIpv6
    ? {
        trafficClass: (ip.readUInt16BE(0) >> 4) & 0xff,
        hopLimit: ip.readUInt8(7),
        dontFragment: true,
        frame,
      }
    : {
        trafficClass: ip.readUInt8(1),
        hopLimit: ip.readUInt8(8),
        dontFragment: (ip.readUInt8(6) & 0x40) !== 0,
        frame,
      };
}

/** The packet as a congested router forwards it: with both ECN bits set (RFC 3168, section 5). */
export function congested({ frame }: OuterHeader): Buffer {
  const marked = Buffer.from(frame);
  const ip = marked.subarray(ETHERNET_BYTES);
  if ((ip[0] ?? 0) >> 4 === IPV6_VERSION) {
    ip.writeUInt16BE(ip.readUInt16BE(0) | 0x30, 0);
    return marked;
  }
  ip.writeUInt8(ip.readUInt8(1) | 3, 1);
  ip.writeUInt16BE(0, 10);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += ip.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  ip.writeUInt16BE(~sum & 0xffff, 10);
  return marked;
}
