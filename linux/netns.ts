import { checked } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK, O_RDONLY, openFd } from "./fd.ts";
import { c } from "./ffi.ts";

const CLONE_NEWNET = 0x4000_0000;
/** The process's own namespace. Its first thread leaves it only during a call of `inNetns`. */
export const OWN_NETNS = "/proc/self/ns/net";
/** The namespace of the calling thread, not of the process's first thread. */
const OWN = "/proc/thread-self/ns/net";

/**
 * Runs `work` with the calling thread in the network namespace at `path`; null: in the process's own. Sockets and
 * devices that `work` opens keep that namespace.
 *
 * `work` must be synchronous: during an await, other code of the process would run in that namespace. If the thread
 * cannot return to its namespace, the process is killed.
 * @throws SystemError of open(2) or setns(2)
 */
export function inNetns<T>(path: string | null, work: () => T): T {
  if (path === null) return work();
  const own = openFd(OWN, O_RDONLY | O_CLOEXEC);
  try {
    // O_NONBLOCK: a FIFO at the path must not block the open.
    const target = openFd(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    try {
      checked(c.setns(target, CLONE_NEWNET), "setns", path);
    } finally {
      closeFd(target);
    }
    try {
      const result = work();
      if (result instanceof Promise) throw new TypeError("inNetns: the work is asynchronous");
      return result;
    } finally {
      // process.abort() is not available in worker threads.
      if (c.setns(own, CLONE_NEWNET) < 0) process.kill(process.pid, "SIGKILL");
    }
  } finally {
    closeFd(own);
  }
}
