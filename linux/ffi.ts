/**
 * The C library through koffi. No other file imports koffi (docs/adr/0001-ffi-library.md).
 *
 * Pointers have two forms. `Buf` is a JavaScript buffer that the call may use until it returns. `Address` is a number,
 * for memory that never moves (see memory.ts). A wrong pointer crashes the process.
 */
import koffi from "koffi";

/** A virtual address; user space ends at 2⁴⁷ (2⁴⁸ on arm64), so a number holds it exactly. */
export type Address = number;
type Buf = Uint8Array | null;

const libc = koffi.load(null);

interface LibC {
  open(path: string, flags: number, mode: number): number;
  close(fd: number): number;
  /** Not declared variadic: both supported ABIs pass the third argument the same way. */
  ioctl(fd: number, request: number, argument: Buf): number;
  /** ioctl(2) with a request whose argument is a number. */
  ioctlNumber(fd: number, request: number, argument: number): number;
  setns(fd: number, kind: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buf, length: number): number;
  connect(fd: number, address: Buf, length: number): number;
  listen(fd: number, backlog: number): number;
  accept4(fd: number, address: null, length: null, flags: number): number;
  setsockopt(fd: number, level: number, option: number, value: Buf, length: number): number;
  getsockopt(fd: number, level: number, option: number, value: Buf, length: Buf): number;
  sendto(
    fd: number,
    data: Buf,
    length: number,
    flags: number,
    address: Buf,
    addressLength: number,
  ): number;
  recv(fd: number, data: Buf, length: number, flags: number): number;
  recvfrom(
    fd: number,
    data: Buf,
    length: number,
    flags: number,
    address: Buf,
    addressLength: Buf,
  ): number;
  poll(fds: Buf, count: number, timeoutMs: number): number;
  flock(fd: number, operation: number): number;
  eventfd(initial: number, flags: number): number;
  /** write(2) and read(2) with a buffer, used only for events. */
  sendEvent(fd: number, data: Buf, length: number): number;
  readEvent(fd: number, data: Buf, length: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Buf): number;
  sched_setscheduler(pid: number, policy: number, parameters: Buf): number;
  /** Called by number: the C library has no function for it. */
  io_uring_setup(call: number, entries: number, params: Buf): number;
  bpf(call: number, command: number, attributes: Buf, bytes: number): number;
}

/**
 * The calls of the packet path. They take addresses only, so they pin no buffer and allocate nothing. read(2) and
 * write(2) are declared with an int result, which is faster: their results are below 2³¹ here.
 */
interface PacketLibC {
  read(fd: number, at: Address, length: number): number;
  write(fd: number, at: Address, length: number): number;
  sendmmsg(fd: number, messages: Address, count: number, flags: number): number;
  recvmmsg(fd: number, messages: Address, count: number, flags: number, timeout: null): number;
  epoll_wait(epoll: number, events: Address, max: number, timeoutMs: number): number;
  io_uring_enter(
    call: number,
    fd: number,
    submit: number,
    complete: number,
    flags: number,
    set: Address,
    setLength: number,
  ): number;
}

const bind = (definition: string): unknown => libc.func(definition);

export const c = {
  open: bind("int open(const char *path, int flags, uint32_t mode)"),
  close: bind("int close(int fd)"),
  ioctl: bind("int ioctl(int fd, uint64_t request, void *argument)"),
  ioctlNumber: bind("int ioctl(int fd, uint64_t request, uintptr_t argument)"),
  setns: bind("int setns(int fd, int kind)"),
  socket: bind("int socket(int domain, int type, int protocol)"),
  bind: bind("int bind(int fd, void *address, uint32_t length)"),
  connect: bind("int connect(int fd, void *address, uint32_t length)"),
  listen: bind("int listen(int fd, int backlog)"),
  accept4: bind("int accept4(int fd, void *address, void *length, int flags)"),
  setsockopt: bind("int setsockopt(int fd, int level, int option, void *value, uint32_t length)"),
  getsockopt: bind("int getsockopt(int fd, int level, int option, void *value, void *length)"),
  sendto: bind(
    "int64_t sendto(int fd, void *data, size_t length, int flags, void *address, uint32_t addressLength)",
  ),
  recv: bind("int64_t recv(int fd, void *data, size_t length, int flags)"),
  recvfrom: bind(
    "int64_t recvfrom(int fd, void *data, size_t length, int flags, void *address, void *addressLength)",
  ),
  poll: bind("int poll(void *fds, uint64_t count, int timeout)"),
  flock: bind("int flock(int fd, int operation)"),
  sendEvent: bind("int64_t write(int fd, void *data, size_t length)"),
  readEvent: bind("int64_t read(int fd, void *data, size_t length)"),
  eventfd: bind("int eventfd(uint32_t initial, int flags)"),
  epoll_create1: bind("int epoll_create1(int flags)"),
  epoll_ctl: bind("int epoll_ctl(int epoll, int operation, int fd, void *event)"),
  sched_setscheduler: bind("int sched_setscheduler(int pid, int policy, void *parameters)"),
  io_uring_setup: bind("int syscall(long call, uint32_t entries, void *params)"),
  bpf: bind("int syscall(long call, int command, void *attributes, uint32_t bytes)"),
} as LibC;

export const packet = {
  read: bind("int read(int fd, uintptr_t at, size_t length)"),
  write: bind("int write(int fd, uintptr_t at, size_t length)"),
  sendmmsg: bind("int sendmmsg(int fd, uintptr_t messages, uint32_t count, int flags)"),
  recvmmsg: bind(
    "int recvmmsg(int fd, uintptr_t messages, uint32_t count, int flags, void *timeout)",
  ),
  epoll_wait: bind("int epoll_wait(int epoll, uintptr_t events, int max, int timeout)"),
  io_uring_enter: bind(
    "int syscall(long call, int fd, uint32_t submit, uint32_t complete, uint32_t flags, uintptr_t set, size_t setLength)",
  ),
} as PacketLibC;

/** Binds a function that runs on a thread of libuv's pool, for blocking calls. */
function inBackground(definition: string): (...args: unknown[]) => Promise<number> {
  const { async: call } = libc.func(definition) as unknown as {
    async(...args: [...unknown[], (error: unknown, result: number) => void]): void;
  };
  return (...args) =>
    new Promise((resolve, reject) => {
      call(...args, (error, result) => (error ? reject(error) : resolve(result)));
    });
}

interface BackgroundLibC {
  poll(fds: Uint8Array, count: number, timeoutMs: number): Promise<number>;
  close(fd: number): Promise<number>;
  send(fd: number, data: Uint8Array, length: number, flags: number): Promise<number>;
}

/**
 * Blocking calls on a thread of the pool. Their errno is lost: callers must detect the cause of a failure otherwise.
 */
export const background = {
  poll: inBackground("int poll(void *fds, uint64_t count, int timeout)"),
  close: inBackground("int close(int fd)"),
  send: inBackground("int64_t send(int fd, void *data, size_t length, int flags)"),
} as BackgroundLibC;

/** Returns the errno of the last failed call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

const memset = bind("uintptr_t memset(void *at, int byte, size_t length)") as (
  at: Uint8Array,
  byte: number,
  length: number,
) => number | bigint;

/** Returns the address of a buffer's memory, which must never move. */
export function addressOfBuffer(bytes: Uint8Array): Address {
  // With length 0, memset only returns its argument.
  return Number(memset(bytes, 0, 0));
}

/** Allocates zeroed memory that never moves and is never freed. */
export function allocate(bytes: number): { address: Address; buffer: ArrayBuffer } {
  const pointer = koffi.alloc("uint8_t", bytes) as unknown as bigint;
  return { address: Number(pointer), buffer: koffi.view(pointer, bytes) };
}

const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const mmap = bind(
  "intptr_t mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)",
) as (...args: unknown[]) => number | bigint;

/** Maps memory that a descriptor shares with the kernel, for the lifetime of the process. Null: failed, see errno. */
export function map(fd: number, offset: number, bytes: number): ArrayBuffer | null {
  const at = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset);
  return Number(at) === -1 ? null : koffi.view(BigInt(at), bytes);
}
