/**
 * Creates a managed tunnel in the kernel (L2TP_ATTR_FD): the kernel forwards frames, this process gets control
 * messages.
 */

import { Errno, isErrno, SystemError } from "../../linux/errno.ts";
import { closeFd } from "../../linux/fd.ts";
import { openConnectedSocket } from "../../linux/socket.ts";
import type { Tunnel } from "../../model/model.ts";
import { L2tpNetlink } from "../kernel/l2tp-netlink.ts";
import { openL2tpIpSocket } from "../l2tp-ip-socket.ts";

/**
 * Opens a socket and creates the kernel's tunnel from it. When the socket is closed, the kernel deletes the tunnel with
 * its sessions and their devices (net/l2tp/l2tp_core.c, l2tp_udp_encap_destroy; l2tp_ip.c, l2tp_ip_destroy_sock). Over
 * IP the socket receives messages for the tunnel's own ID only.
 * @param prepare is called with the socket before the tunnel is created
 * @returns the socket's descriptor
 * @throws SystemError, NetlinkError EEXIST: a tunnel has the ID, perhaps one that is being deleted; NoL2tpError
 */
export function openManagedSocket(tunnel: Tunnel, prepare: (fd: number) => void): number {
  const { tunnelId, peerTunnelId, encapsulation, local, remote, device } = tunnel;
  const l2tp = L2tpNetlink.open(null);
  try {
    const fd =
      encapsulation === "UDP"
        ? openConnectedSocket(local, remote, device?.index)
        : openTunnelsOwnSocket(tunnel);
    try {
      prepare(fd);
      const ids = { tunnelId, peerTunnelId, protocolVersion: 3 };
      const [error] = l2tp.createTunnels([{ ...ids, encapsulation, fd }]);
      if (error) throw error;
      return fd;
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  } finally {
    l2tp.close();
  }
}

/** @throws SystemError EEXIST: a foreign tunnel over IP has the ID */
function openTunnelsOwnSocket({ tunnelId, local, remote }: Tunnel): number {
  try {
    return openL2tpIpSocket(local.address, tunnelId, remote.address);
  } catch (error) {
    if (!isErrno(error, "EADDRINUSE")) throw error;
    // The same error as for a tunnel over UDP: the kernel binds the sockets of static tunnels over IP to their IDs.
    throw new SystemError(Errno.EEXIST, "create tunnel", String(tunnelId));
  }
}
