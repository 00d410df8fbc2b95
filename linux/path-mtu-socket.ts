/** Raw sockets that make the kernel learn path MTUs over IPv6. What they receive is not used. */
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
 * Opens a raw IPv6 socket of the protocol, for any address, with IPV6_RECVERR. While one is open, the kernel applies
 * "packet too big" messages about the protocol's packets (net/ipv6/raw.c, rawv6_err). Packets and errors fill its small
 * buffer, and are then dropped.
 * @returns the descriptor
 * @throws SystemError EPERM without CAP_NET_RAW, EAFNOSUPPORT if the kernel has no IPv6
 */
export function openPathMtuSocket(protocol: number): number {
  const fd = checked(c.socket(AF_INET6, SOCK_RAW_CLOEXEC, protocol), "socket", "IP");
  try {
    const value = Buffer.alloc(4);
    // The kernel raises 0 to its minimum.
    checked(c.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value, 4), "setsockopt", "SO_RCVBUF");
    value.writeInt32LE(1);
    checked(c.setsockopt(fd, SOL_IPV6, IPV6_RECVERR, value, 4), "setsockopt", "IPV6_RECVERR");
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}
