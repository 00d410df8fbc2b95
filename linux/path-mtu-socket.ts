/** Raw sockets that have the kernel learn the MTUs of paths over IPv6, and receive nothing that matters. */
import { checked } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { AF_INET6 } from "./socket.ts";

const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SOL_IPV6 = 41;
const IPV6_RECVERR = 25;

/**
 * A raw socket of the protocol over IPv6, of any address, that asks for errors: while one is open, the kernel heeds a
 * "packet too big" about the protocol's packets (net/ipv6/raw.c, rawv6_err). The packets and errors themselves fill its
 * small buffer, and are then dropped.
 * @throws SystemError, EPERM without CAP_NET_RAW, EAFNOSUPPORT where the kernel has no IPv6
 */
export function openPathMtuSocket(protocol: number): number {
  const fd = checked(c.socket(AF_INET6, SOCK_RAW_CLOEXEC, protocol), "socket", "IP");
  try {
    const value = Buffer.alloc(4);
    // The kernel makes it the least that there is.
    checked(c.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value, 4), "setsockopt", "SO_RCVBUF");
    value.writeInt32LE(1);
    checked(c.setsockopt(fd, SOL_IPV6, IPV6_RECVERR, value, 4), "setsockopt", "IPV6_RECVERR");
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}
