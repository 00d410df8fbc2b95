/** The socket that carries the datagrams of tunnels with one local address (and port). */
import { openDatagramSocket, type SocketAddress } from "../linux/socket.ts";
import type { Encapsulation } from "../model/model.ts";

/** The IP protocol of L2TPv3 without UDP (RFC 3931, 4.1.1). */
export const IPPROTO_L2TP = 115;

/** @throws SystemError, EADDRNOTAVAIL where the address is not the node's, EADDRINUSE */
export function openTunnelSocket(encapsulation: Encapsulation, local: SocketAddress): number {
  return openDatagramSocket(encapsulation === "UDP" ? null : IPPROTO_L2TP, local);
}
