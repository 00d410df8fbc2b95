/** A raw socket for all addresses of an IPv6 prefix (ipv6(7), raw(7)). */
import { parsePrefix } from "../net/ip.ts";
import { attachFilter, ClassicFilter } from "./classic-bpf.ts";
import { checked } from "./errno.ts";
import { c } from "./ffi.ts";
import { bindToDevice, openDatagramSocket, SOL_IPV6 } from "./socket.ts";

const IPV6_RECVPKTINFO = 49;
const IPV6_FREEBIND = 78;
/** Loads behind it are from the network header on (SKF_NET_OFF, include/uapi/linux/filter.h). */
const NETWORK_HEADER = 0xfff0_0000;
/** The destination in an IPv6 header. */
const DESTINATION_AT = 24;
const WORD_BITS = 32;
const WHOLE = 0xffff_ffff;

/**
 * A non-blocking socket of an IP protocol. It receives what is sent to addresses of the prefix, each message with its
 * destination (IPV6_PKTINFO), and sends from any address.
 * @param device the index of the device that it is bound to
 * @throws SystemError; TypeError where the prefix is none of IPv6
 */
export function openPrefixSocket(protocol: number, prefix: string, device?: number): number {
  const filter = destinationFilter(prefix);
  return openDatagramSocket(protocol, { address: "::", port: 0 }, (fd) => {
    attachFilter(fd, filter);
    enable(fd, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
    // No interface has the addresses.
    enable(fd, IPV6_FREEBIND, "IPV6_FREEBIND");
    if (device !== undefined) bindToDevice(fd, device);
  });
}

function enable(fd: number, option: number, name: string): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(1);
  checked(c.setsockopt(fd, SOL_IPV6, option, value, value.length), "setsockopt", name);
}

/** Takes packets to the prefix, and drops all others. */
function destinationFilter(text: string): Uint8Array {
  const prefix = parsePrefix(text);
  if (prefix?.address.length !== 16) {
    throw new TypeError(`${JSON.stringify(text)} is not an IPv6 prefix`);
  }
  const address = new DataView(Uint8Array.from(prefix.address).buffer);
  const filter = new ClassicFilter();
  for (let word = 0; word * WORD_BITS < prefix.length; word++) {
    const bits = Math.min(WORD_BITS, prefix.length - word * WORD_BITS);
    const mask = bits === WORD_BITS ? WHOLE : (WHOLE << (WORD_BITS - bits)) >>> 0;
    filter
      .do("load32", NETWORK_HEADER + DESTINATION_AT + 4 * word)
      .do("and", mask)
      .jumpIf("ifEqual", (address.getUint32(4 * word) & mask) >>> 0, null, "drop");
  }
  return filter.do("return", WHOLE).label("drop").do("return", 0).finish();
}
