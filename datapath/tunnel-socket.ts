/** The socket that carries the datagrams of tunnels with one local address (and port). */
import { bindToDevice, openDatagramSocket, type SocketAddress } from "../linux/socket.ts";
import type { Encapsulation } from "../model/model.ts";

/** The IP protocol of L2TPv3 without UDP (RFC 3931, 4.1.1). */
export const IPPROTO_L2TP = 115;

/**
 * @param device the index of the device that it is bound to
 * @throws SystemError, EADDRNOTAVAIL where the address is not the node's, EADDRINUSE, ENODEV
 */
export function openTunnelSocket(
  encapsulation: Encapsulation,
  local: SocketAddress,
  device?: number,
): number {
  const protocol = encapsulation === "UDP" ? null : IPPROTO_L2TP;
  return openDatagramSocket(protocol, local, (fd) => {
    if (device !== undefined) bindToDevice(fd, device);
  });
}
