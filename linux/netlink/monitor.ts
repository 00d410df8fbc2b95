/** Watches for changes of the node's links, addresses and other objects. */
import { createEvent, signalEvent } from "../event.ts";
import { closeFd } from "../fd.ts";
import { background } from "../ffi.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

const RTMGRP_LINK = 0x1;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;
const POLLIN = 1;
const POLLFD_BYTES = 8;

export interface Monitor {
  close(): void;
}

/**
 * Calls `changed` after every burst of notifications about links and addresses of the process's namespace, until it is
 * closed. Waits on a thread of the pool.
 * @param others sockets that have joined further multicast groups; the monitor closes them
 */
export function monitorNode(others: readonly NetlinkSocket[], changed: () => void): Monitor {
  const groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  const sockets = [new NetlinkSocket(NETLINK_ROUTE, null, groups), ...others];
  return monitor(sockets, changed);
}

function monitor(sockets: readonly NetlinkSocket[], changed: () => void): Monitor {
  const wake = createEvent();
  let open = true;

  const watched = [...sockets.map(({ fd }) => fd), wake];
  const hear = () => {
    let heard = false;
    for (const socket of sockets) while (open && socket.drain()) heard = true;
    if (open && heard) changed();
  };

  const watch = async () => {
    while (open) {
      await background.poll(pollFds(watched), watched.length, -1);
      hear();
    }
    for (const socket of sockets) socket.close();
    closeFd(wake);
  };
  void watch();
  return {
    close() {
      if (!open) return;
      open = false;
      signalEvent(wake);
    },
  };
}

/** Returns an array of struct pollfd (poll(2)). */
function pollFds(fds: readonly number[]): Buffer {
  const array = Buffer.alloc(fds.length * POLLFD_BYTES);
  for (const [index, fd] of fds.entries()) {
    array.writeInt32LE(fd, index * POLLFD_BYTES);
    array.writeInt32LE(POLLIN, index * POLLFD_BYTES + 4);
  }
  return array;
}
