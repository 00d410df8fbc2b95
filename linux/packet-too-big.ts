/** A raw ICMPv6 socket that hears of paths with a smaller MTU (RFC 4443, section 3.2; RFC 3542, section 3.2). */
import { c } from "./ffi.ts";
import { openIcmpSocket } from "./icmp-socket.ts";
import { AF_INET6 } from "./socket.ts";

const PACKET_TOO_BIG = 2;
const MSG_DONTWAIT = 0x40;

/**
 * Readable when a "packet too big" has come, to any socket of the namespace. The kernel learns the MTU just after that.
 * @throws SystemError, EAFNOSUPPORT where the kernel has no IPv6
 */
export function openPacketTooBig(): number {
  return openIcmpSocket(AF_INET6, [PACKET_TOO_BIG]);
}

const message = Buffer.alloc(8);

/** Takes what has come. True: there was something. */
export function drainPacketTooBig(fd: number): boolean {
  let count = 0;
  while (c.recv(fd, message, message.length, MSG_DONTWAIT) >= 0) count++;
  return count > 0;
}
