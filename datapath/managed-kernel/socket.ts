/** Makes a managed tunnel in the kernel (L2TP_ATTR_FD): frames pass this process by, control messages come to it. */

import { Errno, isErrno, SystemError } from "../../linux/errno.ts";
import { closeFd } from "../../linux/fd.ts";
import { openConnectedSocket } from "../../linux/socket.ts";
import type { Tunnel } from "../../model/model.ts";
import { L2tpNetlink } from "../kernel/l2tp-netlink.ts";
import { openL2tpIpSocket } from "../l2tp-ip-socket.ts";

/**
 * The kernel's tunnel goes when the socket is closed, with its sessions and their devices (net/l2tp/l2tp_core.c,
 * l2tp_udp_encap_destroy; l2tp_ip.c, l2tp_ip_destroy_sock). Over IP it hears messages for the tunnel's own ID alone.
 * @param prepare what is to be done to the socket before
 * @returns the socket
 * @throws SystemError, NetlinkError EEXIST: a tunnel has the id, perhaps one that is on its way out; NoL2tpError
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

/** @throws SystemError EEXIST: somebody else has a tunnel of the ID over IP */
function openTunnelsOwnSocket({ tunnelId, local, remote }: Tunnel): number {
  try {
    return openL2tpIpSocket(local.address, tunnelId, remote.address);
  } catch (error) {
    if (!isErrno(error, "EADDRINUSE")) throw error;
    // As where the kernel is asked for the tunnel: its own sockets of static tunnels are bound to their IDs.
    throw new SystemError(Errno.EEXIST, "create tunnel", String(tunnelId));
  }
}
