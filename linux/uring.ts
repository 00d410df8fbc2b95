/**
 * Reads and writes of several descriptors in one system call (io_uring(7), include/uapi/linux/io_uring.h). No request
 * blocks: all have run, in order, when the call returns.
 */
import { checked, Errno, SystemError } from "./errno.ts";
import { type Address, c, lastErrno, map, packet } from "./ffi.ts";
import { setWord64 } from "./memory.ts";

/** System calls that were added after 2018 have the same numbers on all architectures. */
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;

/**
 * Complete requests when the submitter returns from the kernel, without interrupting it (Linux 5.19); one thread
 * submits (6.0).
 */
const SETUP_COOP_TASKRUN = 1 << 8;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUPS = [SETUP_COOP_TASKRUN | SETUP_SINGLE_ISSUER, 0];
const ENTER_GETEVENTS = 1;
/** One mapping for both rings (Linux 5.4). */
const FEATURE_SINGLE_MMAP = 1;
const OFFSET_OF_RINGS = 0;
const OFFSET_OF_ENTRIES = 0x1000_0000;

const PARAMS_BYTES = 120;
/** Indices of 32-bit words in struct io_uring_params. */
const PARAMS = {
  submissions: 0,
  completions: 1,
  flags: 2,
  features: 5,
  submissionTail: 11,
  submissionArray: 16,
  completionHead: 20,
  completionTail: 21,
  completionEntries: 25,
} as const;

/** Indices of 32-bit words in struct io_uring_sqe. */
const ENTRY_WORDS = 16;
const ENTRY = {
  operation: 0,
  fd: 1,
  address: 4,
  length: 6,
  flags: 7,
  userData: 8,
} as const;
/** Return EAGAIN instead of blocking (preadv2(2)): io_uring ignores O_NONBLOCK. */
const RWF_NOWAIT = 8;
/** struct io_uring_cqe. */
const COMPLETION_WORDS = 4;
const COMPLETION = { userData: 0, result: 2 } as const;

/** enum io_uring_op. */
export const UringOperation = { Read: 22, Write: 23 } as const;
export type UringOperation = (typeof UringOperation)[keyof typeof UringOperation];

export class Uring {
  readonly size: number;
  readonly #fd: number;
  readonly #rings: Int32Array;
  readonly #entries: Int32Array;
  readonly #entriesView: DataView;
  /** Indices of words in #rings. */
  readonly #submissionTail: number;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completions: number;
  readonly #completionMask: number;
  readonly #results: Int32Array;
  /** The number of all requests so far, modulo 2³². */
  #submitted = 0;

  /**
   * @param size maximum number of requests in a call, a power of two
   * @throws SystemError if the kernel has no io_uring or does not permit it
   */
  constructor(size: number) {
    const { fd, params } = setUp(size);
    this.#fd = fd;
    this.size = size;
    const word = (index: number) => params[index] as number;
    const bytes = Math.max(
      word(PARAMS.submissionArray) + word(PARAMS.submissions) * 4,
      word(PARAMS.completionEntries) + word(PARAMS.completions) * COMPLETION_WORDS * 4,
    );
    this.#rings = mapped(fd, OFFSET_OF_RINGS, bytes);
    this.#entries = mapped(fd, OFFSET_OF_ENTRIES, size * ENTRY_WORDS * 4);
    this.#entriesView = new DataView(this.#entries.buffer);
    this.#submissionTail = word(PARAMS.submissionTail) / 4;
    this.#completionHead = word(PARAMS.completionHead) / 4;
    this.#completionTail = word(PARAMS.completionTail) / 4;
    this.#completions = word(PARAMS.completionEntries) / 4;
    this.#completionMask = word(PARAMS.completions) - 1;
    this.#results = new Int32Array(size);
    // Each slot of the ring always refers to the entry with its index.
    const array = word(PARAMS.submissionArray) / 4;
    for (let index = 0; index < size; index++) this.#rings[array + index] = index;
  }

  /** Sets request `index` of the next call. */
  prepare(
    index: number,
    operation: UringOperation,
    fd: number,
    address: Address,
    length: number,
  ): void {
    const at = ((this.#submitted + index) & (this.size - 1)) * ENTRY_WORDS;
    const entries = this.#entries;
    entries[at + ENTRY.operation] = operation;
    entries[at + ENTRY.fd] = fd;
    setWord64(this.#entriesView, (at + ENTRY.address) * 4, address);
    entries[at + ENTRY.length] = length;
    entries[at + ENTRY.flags] = RWF_NOWAIT;
    entries[at + ENTRY.userData] = index;
  }

  /**
   * Runs the first `count` requests in order.
   * @returns the number of requests that have run; fewer if the kernel rejects the rest, see errno
   */
  run(count: number): number {
    const before = this.#submitted;
    this.#rings[this.#submissionTail] = before + count;
    let done = 0;
    while (done < count) {
      const left = count - done;
      const taken = packet.io_uring_enter(
        SYS_IO_URING_ENTER,
        this.#fd,
        left,
        left,
        ENTER_GETEVENTS,
        0,
        0,
      );
      if (taken < 0 && lastErrno() !== Errno.EINTR) break;
      this.#reap();
      if (taken > 0) done += taken;
    }
    this.#submitted = (before + done) | 0;
    this.#rings[this.#submissionTail] = this.#submitted;
    return done;
  }

  /** Returns the result of a request: as the system call's, or −errno. */
  result(index: number): number {
    return this.#results[index] as number;
  }

  #reap(): void {
    const rings = this.#rings;
    const tail = rings[this.#completionTail] as number;
    let head = rings[this.#completionHead] as number;
    for (; head !== tail; head = (head + 1) | 0) {
      const at = this.#completions + (head & this.#completionMask) * COMPLETION_WORDS;
      this.#results[rings[at + COMPLETION.userData] as number] = rings[
        at + COMPLETION.result
      ] as number;
    }
    rings[this.#completionHead] = head;
  }
}

/** Sets up the rings with the newest flags that the kernel supports. */
function setUp(size: number): { fd: number; params: Uint32Array } {
  for (const flags of SETUPS) {
    const params = new Uint32Array(PARAMS_BYTES / 4);
    params[PARAMS.flags] = flags;
    const fd = c.io_uring_setup(SYS_IO_URING_SETUP, size, new Uint8Array(params.buffer));
    if (fd < 0 && lastErrno() === Errno.EINVAL && flags !== 0) continue;
    checked(fd, "io_uring_setup");
    if (((params[PARAMS.features] as number) & FEATURE_SINGLE_MMAP) !== 0) return { fd, params };
    c.close(fd);
    break;
  }
  throw new Error("io_uring requires Linux 5.4");
}

function mapped(fd: number, offset: number, bytes: number): Int32Array {
  const buffer = map(fd, offset, bytes);
  if (buffer !== null) return new Int32Array(buffer);
  const errno = lastErrno();
  c.close(fd);
  throw new SystemError(errno, "mmap", "io_uring");
}
