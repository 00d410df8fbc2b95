/** The socket for the datagrams of all tunnels with the same local address (and port). */
import { bindToDevice, openDatagramSocket, type SocketAddress } from "../linux/socket.ts";
import type { Encapsulation } from "../model/model.ts";

/** The IP protocol of L2TPv3 without UDP (RFC 3931, 4.1.1). */
export const IPPROTO_L2TP = 115;

/**
 * Opens a socket for tunnels.
 * @param device the index of the device to bind the socket to
 * @returns the descriptor
 * @throws SystemError EADDRNOTAVAIL if the node does not have the address; EADDRINUSE; ENODEV
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
