/** A raw socket for all addresses of an IPv6 prefix (ipv6(7), raw(7)). */
import { parsePrefix } from "../net/ip.ts";
import { attachFilter, ClassicFilter } from "./classic-bpf.ts";
import { checked } from "./errno.ts";
import { c } from "./ffi.ts";
import { bindToDevice, openDatagramSocket, SOL_IPV6 } from "./socket.ts";

const IPV6_RECVPKTINFO = 49;
const IPV6_FREEBIND = 78;
/** The base of load offsets that count from the network header (SKF_NET_OFF, include/uapi/linux/filter.h). */
const NETWORK_HEADER = 0xfff0_0000;
/** Offset of the destination address in an IPv6 header. */
const DESTINATION_AT = 24;
const WORD_BITS = 32;
const WHOLE = 0xffff_ffff;

/**
 * Opens a non-blocking raw socket of an IP protocol. The socket receives packets to addresses of the prefix, each with
 * its destination (IPV6_PKTINFO), and can send from any address.
 * @param device the index of the device to bind to
 * @returns the file descriptor
 * @throws SystemError; TypeError if the prefix is not an IPv6 prefix
 */
export function openPrefixSocket(protocol: number, prefix: string, device?: number): number {
  const filter = destinationFilter(prefix);
  return openDatagramSocket(protocol, { address: "::", port: 0 }, (fd) => {
    attachFilter(fd, filter);
    enable(fd, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
    // The addresses are not on any interface.
    enable(fd, IPV6_FREEBIND, "IPV6_FREEBIND");
    if (device !== undefined) bindToDevice(fd, device);
  });
}

function enable(fd: number, option: number, name: string): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(1);
  checked(c.setsockopt(fd, SOL_IPV6, option, value, value.length), "setsockopt", name);
}

/** Returns a program that accepts packets to the prefix and drops all others. */
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
