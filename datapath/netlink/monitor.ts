/** Notices that links or addresses of the own network namespace change. */

import { checked } from "../sys/errno.ts";
import { closeFd } from "../sys/fd.ts";
import { background, c } from "../sys/ffi.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

const RTMGRP_LINK = 0x1;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;
const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const POLLIN = 1;
const POLLFD_BYTES = 8;

export interface Monitor {
  close(): void;
}

/** Calls `changed` after every burst of notifications, until closed. It waits on a pool thread. */
export function monitorLinks(changed: () => void): Monitor {
  const groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  const socket = new NetlinkSocket(NETLINK_ROUTE, null, groups);
  const wake = checked(c.eventfd(0, EFD_CLOEXEC_NONBLOCK), "eventfd");
  let open = true;

  const watch = async () => {
    const fds = Buffer.alloc(2 * POLLFD_BYTES);
    while (open) {
      fds.writeInt32LE(socket.fd, 0);
      fds.writeInt32LE(POLLIN, 4);
      fds.writeInt32LE(wake, POLLFD_BYTES);
      fds.writeInt32LE(POLLIN, POLLFD_BYTES + 4);
      await background.poll(fds, 2, -1);
      let heard = false;
      while (open && socket.drain()) heard = true;
      if (open && heard) changed();
    }
    socket.close();
    closeFd(wake);
  };
  void watch();
  return {
    close() {
      if (!open) return;
      open = false;
      const one = Buffer.alloc(8);
      one.writeUInt32LE(1);
      c.sendEvent(wake, one, one.length);
    },
  };
}
