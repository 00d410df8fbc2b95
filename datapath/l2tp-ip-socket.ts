/**
 * The kernel's sockets for control messages over IP (struct sockaddr_l2tpip and sockaddr_l2tpip6 of
 * include/uapi/linux/l2tp.h). Each gets the messages for the control connection ID that it is bound to. The four zero
 * octets in front of a control message are the kernel's: it takes them off, and puts them there (net/l2tp/l2tp_ip.c).
 */
import { encodeSockaddr, openProtocolSocket, SOCKADDR_BYTES } from "../linux/socket.ts";
import { IPPROTO_L2TP } from "./tunnel-socket.ts";

/** Offset of the connection ID: behind the address in IPv4's, behind all else in IPv6's. */
const INET_ID_AT = 8;
const INET6_ID_AT = SOCKADDR_BYTES;
/** sockaddr_l2tpip6 is the larger of the two. */
export const L2TP_SOCKADDR_BYTES = INET6_ID_AT + 4;

/** An SCCRQ is addressed to it: the connection has no ID yet (RFC 3931, 3.2.1). */
export const NO_CONNECTION_ID = 0;

/**
 * @param connectionId no other socket of the kernel's is bound to it at the address
 * @param remote the only address that it hears, and sends to; null: it hears all
 * @throws SystemError EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH; EPROTONOSUPPORT where the kernel lacks the protocol
 */
export function openL2tpIpSocket(
  local: string,
  connectionId: number,
  remote: string | null,
): number {
  const where = `${local} control connection ID ${connectionId}${remote === null ? "" : ` to ${remote}`}`;
  return openProtocolSocket(
    IPPROTO_L2TP,
    l2tpSockaddr(local, connectionId),
    // No message is addressed by it.
    remote === null ? null : l2tpSockaddr(remote, 0),
    where,
  );
}

function l2tpSockaddr(address: string, connectionId: number): Uint8Array {
  const plain = encodeSockaddr({ address, port: 0 });
  const isIpv4 = plain.length < SOCKADDR_BYTES;
  const sockaddr = new Uint8Array(isIpv4 ? plain.length : L2TP_SOCKADDR_BYTES);
  sockaddr.set(plain);
  const view = new DataView(sockaddr.buffer);
  view.setUint32(isIpv4 ? INET_ID_AT : INET6_ID_AT, connectionId, true);
  return sockaddr;
}
