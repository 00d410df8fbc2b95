/**
 * The kernel's sockets for control messages over IP (struct sockaddr_l2tpip and sockaddr_l2tpip6 of
 * include/uapi/linux/l2tp.h). Each receives the messages for the control connection ID that it is bound to. The kernel
 * removes and adds the four zero octets in front of a control message (net/l2tp/l2tp_ip.c).
 */
import { encodeSockaddr, openProtocolSocket, SOCKADDR_BYTES } from "../linux/socket.ts";
import { IPPROTO_L2TP } from "./tunnel-socket.ts";

/** Offset of the connection ID: after the address for IPv4, after all other fields for IPv6. */
const INET_ID_AT = 8;
const INET6_ID_AT = SOCKADDR_BYTES;
/** sockaddr_l2tpip6 is the larger of the two. */
export const L2TP_SOCKADDR_BYTES = INET6_ID_AT + 4;

/** The connection ID in an SCCRQ: the connection has no ID yet (RFC 3931, 3.2.1). */
export const NO_CONNECTION_ID = 0;

/**
 * Opens a socket for control messages over IP.
 * @param connectionId no other L2TP socket of the kernel may be bound to it at this address
 * @param remote the only address to receive from and send to; null: receive from all
 * @returns the descriptor
 * @throws SystemError EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH; EPROTONOSUPPORT if the kernel lacks the protocol
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
    // The peer's connection ID in this address is not used for sending.
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
