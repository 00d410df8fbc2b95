/** A raw ICMPv6 socket that hears of paths with a smaller MTU (RFC 4443, section 3.2; RFC 3542, section 3.2). */
import { checked } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { AF_INET6 } from "./socket.ts";

const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
/** Also the level of its socket options. */
const IPPROTO_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
/** One bit for each type; those that are set are not passed (net/ipv6/raw.c, icmpv6_filter). */
const FILTER_BYTES = 32;
const PACKET_TOO_BIG = 2;
const MSG_DONTWAIT = 0x40;

/**
 * Readable when a "packet too big" has come, to any socket of the namespace. The kernel learns the MTU just after that.
 * @throws SystemError, EAFNOSUPPORT where the kernel has no IPv6
 */
export function openPacketTooBig(): number {
  const socket = c.socket(AF_INET6, SOCK_RAW_NONBLOCK_CLOEXEC, IPPROTO_ICMPV6);
  const fd = checked(socket, "socket", "ICMPv6");
  const filter = Buffer.alloc(FILTER_BYTES, 0xff);
  filter.writeUInt32LE(~(1 << PACKET_TOO_BIG) >>> 0, 0);
  if (c.setsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, filter, filter.length) === 0) return fd;
  try {
    return checked(-1, "setsockopt", "ICMPV6_FILTER");
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

const message = Buffer.alloc(8);

/** Takes what has come. True: there was something. */
export function drainPacketTooBig(fd: number): boolean {
  let count = 0;
  while (c.recv(fd, message, message.length, MSG_DONTWAIT) >= 0) count++;
  return count > 0;
}
