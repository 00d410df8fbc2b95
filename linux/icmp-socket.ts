/** Raw sockets that receive selected ICMP messages of their namespace (raw(7); RFC 3542, section 3.2). */
import { checked } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
/**
 * A filter has one bit for each type. Types whose bit is set are blocked (net/ipv4/raw.c, icmp_filter; net/ipv6/raw.c,
 * icmpv6_filter).
 */
const KINDS = {
  [AF_INET]: { name: "ICMP", protocol: 1, level: 255, filterBytes: 4 },
  [AF_INET6]: { name: "ICMPv6", protocol: 58, level: 58, filterBytes: 32 },
} as const;
/** ICMP_FILTER of SOL_RAW, and ICMPV6_FILTER. */
const FILTER = 1;

/**
 * Opens a socket for ICMP messages.
 * @param types the message types to receive; each must be below 32, as all errors are
 * @returns a nonblocking descriptor
 * @throws SystemError EPERM without CAP_NET_RAW, EAFNOSUPPORT if the kernel lacks the IP version
 */
export function openIcmpSocket(family: keyof typeof KINDS, types: readonly number[]): number {
  const { name, protocol, level, filterBytes } = KINDS[family];
  const fd = checked(c.socket(family, SOCK_RAW_NONBLOCK_CLOEXEC, protocol), "socket", name);
  const filter = Buffer.alloc(filterBytes, 0xff);
  const passed = types.reduce((bits, type) => bits | (1 << type), 0);
  filter.writeUInt32LE(~passed >>> 0);
  try {
    checked(c.setsockopt(fd, level, FILTER, filter, filter.length), "setsockopt", `${name} filter`);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}
