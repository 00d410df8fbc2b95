/** Unix sockets for a thread that does not run Node's event loop (unix(7)). */
import { chmodSync } from "node:fs";
import { removeStaleSocket } from "../files/stale-socket.ts";
import { checked, Errno, SystemError } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c, lastErrno } from "./ffi.ts";

const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const BACKLOG = 16;
const MAX_PATH_BYTES = 107;

/**
 * Listens on `path`, mode 0600. Replaces an existing socket file: the caller must ensure that no process listens on it.
 * @returns the descriptor
 * @throws SystemError; RangeError if the path is too long for the kernel
 */
export function listenUnix(path: string): number {
  const pathBytes = Buffer.from(path);
  if (pathBytes.length > MAX_PATH_BYTES) {
    throw new RangeError(`socket path ${path}: longer than ${MAX_PATH_BYTES} bytes`);
  }
  removeStaleSocket(path);
  const fd = checked(c.socket(AF_UNIX, SOCK_STREAM_NONBLOCK_CLOEXEC, 0), "socket", "unix");
  const mask = process.umask(0o177);
  try {
    const sockaddr = Buffer.alloc(2 + pathBytes.length + 1);
    sockaddr.writeUInt16LE(AF_UNIX);
    pathBytes.copy(sockaddr, 2);
    checked(c.bind(fd, sockaddr, sockaddr.length), "bind", path);
    chmodSync(path, 0o600);
    checked(c.listen(fd, BACKLOG), "listen", path);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  } finally {
    process.umask(mask);
  }
}

/** Accepts the next connection. Returns its descriptor; −1: none is waiting. */
export function acceptUnix(listener: number): number {
  return c.accept4(listener, null, null, NONBLOCK_CLOEXEC);
}

/** Returns the number of received bytes; 0: the client closed the connection; −1: no data yet. @throws SystemError */
export function receive(fd: number, into: Uint8Array): number {
  const bytes = c.recv(fd, into, into.length, 0);
  return bytes >= 0 ? bytes : wouldBlock("recv");
}

/** Returns the number of sent bytes; −1: the client must read first. @throws SystemError */
export function send(fd: number, data: Uint8Array): number {
  const bytes = c.sendto(fd, data, data.length, MSG_NOSIGNAL, null, 0);
  return bytes >= 0 ? bytes : wouldBlock("send");
}

function wouldBlock(syscall: string): -1 {
  const errno = lastErrno();
  if (errno === Errno.EAGAIN || errno === Errno.EINTR) return -1;
  throw new SystemError(errno, syscall);
}
