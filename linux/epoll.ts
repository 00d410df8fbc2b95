import { checked, Errno, SystemError } from "./errno.ts";
import { c, lastErrno, packet } from "./ffi.ts";
import { addressOf, createMemory } from "./memory.ts";

const EPOLL_CLOEXEC = 0o2000000;
const CTL = { add: 1, delete: 2, modify: 3 } as const;
export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;

/** struct epoll_event is packed on x86-64 only. */
const EVENT_BYTES = process.arch === "x64" ? 12 : 16;
const DATA_OFFSET = EVENT_BYTES - 8;

/** Level-triggered readiness of many descriptors (epoll(7)). */
export class Epoll {
  readonly #fd = checked(c.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  readonly #maxEvents: number;
  readonly #events;

  constructor(maxEvents = 256) {
    this.#maxEvents = maxEvents;
    this.#events = createMemory(maxEvents * EVENT_BYTES);
  }

  add(fd: number, interest: number): void {
    this.#control(CTL.add, fd, interest);
  }

  modify(fd: number, interest: number): void {
    this.#control(CTL.modify, fd, interest);
  }

  remove(fd: number): void {
    this.#control(CTL.delete, fd, 0);
  }

  /** Returns the number of ready descriptors, at most `maxEvents`; 0 after the timeout. −1 waits forever. */
  wait(timeoutMs: number): number {
    const at = addressOf(this.#events, 0, this.#maxEvents * EVENT_BYTES);
    const ready = packet.epoll_wait(this.#fd, at, this.#maxEvents, timeoutMs);
    if (ready >= 0) return ready;
    const errno = lastErrno();
    if (errno === Errno.EINTR) return 0;
    throw new SystemError(errno, "epoll_wait");
  }

  readyFd(index: number): number {
    return this.#events.view.getInt32(index * EVENT_BYTES + DATA_OFFSET, true);
  }

  #control(operation: number, fd: number, interest: number): void {
    const event = Buffer.alloc(EVENT_BYTES);
    event.writeUInt32LE(interest, 0);
    event.writeInt32LE(fd, DATA_OFFSET);
    checked(c.epoll_ctl(this.#fd, operation, fd, event), "epoll_ctl", `fd ${fd}`);
  }
}
