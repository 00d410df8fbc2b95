/** A raw ICMPv6 socket for "packet too big" messages (RFC 4443, section 3.2; RFC 3542, section 3.2). */
import { c } from "./ffi.ts";
import { openIcmpSocket } from "./icmp-socket.ts";
import { AF_INET6 } from "./socket.ts";

const PACKET_TOO_BIG = 2;
const MSG_DONTWAIT = 0x40;

/**
 * Opens a socket that is readable when a "packet too big" for any socket of the namespace arrives. The kernel stores
 * the MTU just after that.
 * @throws SystemError EAFNOSUPPORT if the kernel has no IPv6
 */
export function openPacketTooBig(): number {
  return openIcmpSocket(AF_INET6, [PACKET_TOO_BIG]);
}

const message = Buffer.alloc(8);

/** Discards the received messages. Returns true if any were received. */
export function drainPacketTooBig(fd: number): boolean {
  let count = 0;
  while (c.recv(fd, message, message.length, MSG_DONTWAIT) >= 0) count++;
  return count > 0;
}
