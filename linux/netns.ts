import { checked } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK, O_RDONLY, openFd } from "./fd.ts";
import { c } from "./ffi.ts";

const CLONE_NEWNET = 0x4000_0000;
/** The process's own namespace: its first thread never leaves it for longer than one call of `inNetns`. */
export const OWN_NETNS = "/proc/self/ns/net";
/** The namespace of the calling thread, not of the process's first thread. */
const OWN = "/proc/thread-self/ns/net";

/**
 * Runs `work` with the calling thread inside the network namespace that `path` names; null stays in
 * the process's own. Sockets and devices that `work` opens keep that namespace.
 *
 * `work` must be synchronous: at an await, other code of the process would run in there. Where the
 * way back fails nothing else can be right, so the process ends.
 * @throws SystemError of open(2) or setns(2)
 */
export function inNetns<T>(path: string | null, work: () => T): T {
  if (path === null) return work();
  const own = openFd(OWN, O_RDONLY | O_CLOEXEC);
  try {
    // Whatever the path leads to: it must not make us wait.
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
      // process.abort() is not for threads.
      if (c.setns(own, CLONE_NEWNET) < 0) process.kill(process.pid, "SIGKILL");
    }
  } finally {
    closeFd(own);
  }
}
