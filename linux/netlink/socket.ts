/**
 * Requests over a netlink socket (netlink(7)). They are synchronous, because the kernel queues its reply before send(2)
 * returns, and so work within another network namespace.
 */
import { checked, Errno, type ErrnoName, isErrno, SystemError } from "../errno.ts";
import { closeFd } from "../fd.ts";
import { background, c, lastErrno } from "../ffi.ts";
import { inNetns } from "../netns.ts";
import { type Message, type MessageWriter, NetlinkAttributes, parseMessages } from "./message.ts";

export const NETLINK_ROUTE = 0;
export const NETLINK_GENERIC = 16;
export const NLM_F_REQUEST = 0x1;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_DUMP = 0x300;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

const RECEIVE_BYTES = 256 * 1024;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
const REPLY_TIMEOUT_S = 5;
const DUMP_ATTEMPTS = 20;
/** Requests in one send(2): the kernel copies them together, and their replies must fit the receive buffer. */
const PIPELINE_REQUESTS = 128;

/** The kernel rejected a request. */
export class NetlinkError extends SystemError {
  /** The kernel's message (extended ack), if it sent one. */
  readonly extendedAck: string | undefined;

  constructor(errno: number, operation: string, extendedAck?: string) {
    super(errno, operation);
    this.name = "NetlinkError";
    this.extendedAck = extendedAck;
    if (extendedAck !== undefined) this.message += ` (${extendedAck})`;
  }
}

export interface Operation {
  readonly message: MessageWriter;
  /** The operation, for errors: "set link eth0". */
  readonly name: string;
}

/** Shared by all sockets: each receive is complete, and copied, before the next one begins. */
const receiveBuffer = Buffer.alloc(RECEIVE_BYTES);
const RECEIVE_TIMEOUT = timeval(REPLY_TIMEOUT_S);
const RECEIVE_BUFFER = int32(RECEIVE_BUFFER_BYTES);
const ON = int32(1);

export class NetlinkSocket {
  readonly fd: number;
  #sequence = 0;

  /**
   * @param netns the path of the network namespace; null: the process's own
   * @param groups a mask of the first 32 multicast groups to join
   */
  constructor(protocol: number, netns: string | null, groups = 0) {
    this.fd = inNetns(netns, () =>
      checked(c.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), "socket", "netlink"),
    );
    try {
      this.#setOption(SOL_SOCKET, SO_RCVTIMEO, RECEIVE_TIMEOUT);
      this.#setOption(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
      this.#setOption(SOL_NETLINK, NETLINK_CAP_ACK, ON);
      this.#setOption(SOL_NETLINK, NETLINK_EXT_ACK, ON);
      this.#setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, ON);
      const sockaddr = Buffer.alloc(12);
      sockaddr.writeUInt16LE(AF_NETLINK, 0);
      sockaddr.writeUInt32LE(groups, 8);
      checked(c.bind(this.fd, sockaddr, sockaddr.length), "bind", "netlink");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    closeFd(this.fd);
  }

  /** Sends one request. Returns the kernel's replies, without the acknowledgment. @throws NetlinkError */
  request({ message, name }: Operation): Message[] {
    return this.#answers(this.#send(message, name), name);
  }

  /** Requests one object; undefined: the kernel replied with the error `absent`. */
  find(operation: Operation, absent: ErrnoName): Message | undefined {
    try {
      return this.request(operation)[0];
    } catch (error) {
      if (isErrno(error, absent)) return undefined;
      throw error;
    }
  }

  /**
   * Sends many requests together. The kernel executes them in order; one that fails does not stop the next. It replies
   * to those that fail, and to the last one of each send.
   * @returns null or the error of each
   */
  pipeline(operations: readonly Operation[]): (NetlinkError | null)[] {
    const results: (NetlinkError | null)[] = [];
    for (let at = 0; at < operations.length; at += PIPELINE_REQUESTS) {
      results.push(...this.#sendTogether(operations.slice(at, at + PIPELINE_REQUESTS)));
    }
    return results;
  }

  #sendTogether(operations: readonly Operation[]): (NetlinkError | null)[] {
    const last = operations.length - 1;
    const name = operations[last]?.name ?? "";
    const start = this.#sequence + 1;
    const parts = operations.map(({ message }, index) =>
      message.finish(++this.#sequence, index < last),
    );
    const whole = Buffer.concat(parts);
    checked(c.sendto(this.fd, whole, whole.length, 0, null, 0), "send", `netlink ${name}`);
    const results: (NetlinkError | null)[] = new Array(parts.length).fill(null);
    for (const reply of this.#replies(start, name)) {
      if (reply.type !== NLMSG_ERROR) continue;
      const index = reply.sequence - start;
      results[index] = readError(reply, operations[index]?.name ?? name);
      if (index === last) break;
    }
    return results;
  }

  /** Joins a multicast group. */
  join(group: number): void {
    this.#setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, int32(group));
  }

  /**
   * As `request`, for slow operations: sends on a thread of the pool. Do not use the socket until the promise has
   * settled.
   */
  async requestInBackground({ message, name }: Operation): Promise<Message[]> {
    const bytes = message.finish(++this.#sequence);
    const sent = await background.send(this.fd, bytes, bytes.length, 0);
    if (sent < 0) throw new SystemError(Errno.EIO, "send", `netlink ${name}`);
    return this.#answers(this.#sequence, name);
  }

  /** Returns the replies to a single request. @throws NetlinkError */
  #answers(sequence: number, name: string): Message[] {
    const replies: Message[] = [];
    for (const reply of this.#replies(sequence, name)) {
      if (reply.type === NLMSG_ERROR) {
        const error = readError(reply, name);
        if (error !== null) throw error;
        break;
      }
      replies.push(reply);
    }
    return replies;
  }

  /**
   * Returns all objects of a kind. Repeats a dump that was interrupted by changes.
   * @param build creates the request for each attempt
   * @throws NetlinkError; SystemError EINTR if all attempts were interrupted
   */
  dump(build: () => Operation): Message[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const { message, name } = build();
      const replies = this.#dumpOnce(this.#send(message, name), name);
      if (replies !== null) return replies;
    }
    throw new SystemError(Errno.EINTR, build().name, `changed during ${DUMP_ATTEMPTS} dumps`);
  }

  /** Discards a queued notification. False: the queue is empty. */
  drain(): boolean {
    const bytes = c.recv(this.fd, receiveBuffer, receiveBuffer.length, MSG_DONTWAIT);
    return bytes >= 0 || lastErrno() === Errno.ENOBUFS;
  }

  /** Returns null if the dump was interrupted. */
  #dumpOnce(sequence: number, name: string): Message[] | null {
    const replies: Message[] = [];
    let interrupted = false;
    for (const reply of this.#replies(sequence, name)) {
      if ((reply.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      const error = readFailure(reply, name);
      if (error !== null) throw error;
      if (reply.type === NLMSG_DONE) break;
      if (reply.type !== NLMSG_ERROR) replies.push(reply);
    }
    return interrupted ? null : replies;
  }

  /** Yields the replies to requests from `first` on. Skips replies to earlier requests. */
  *#replies(first: number, name: string): Generator<Message> {
    for (;;) {
      for (const reply of this.#receive(name)) {
        if (reply.sequence >= first && reply.sequence <= this.#sequence) yield reply;
      }
    }
  }

  /** Returns the sequence number of the message. */
  #send(message: MessageWriter, name: string): number {
    const bytes = message.finish(++this.#sequence);
    checked(c.sendto(this.fd, bytes, bytes.length, 0, null, 0), "send", `netlink ${name}`);
    return this.#sequence;
  }

  #receive(name: string): Message[] {
    const bytes = c.recv(this.fd, receiveBuffer, receiveBuffer.length, MSG_TRUNC);
    if (bytes < 0) {
      const errno = lastErrno();
      if (errno === Errno.EINTR) return [];
      throw new SystemError(errno === Errno.EAGAIN ? Errno.ETIMEDOUT : errno, "recv netlink", name);
    }
    if (bytes > receiveBuffer.length) throw new SystemError(Errno.EMSGSIZE, "recv netlink", name);
    // Copied: replies outlive the buffer.
    return parseMessages(Buffer.from(receiveBuffer.subarray(0, bytes)));
  }

  #setOption(level: number, option: number, value: Buffer): void {
    checked(
      c.setsockopt(this.fd, level, option, value, value.length),
      "setsockopt",
      `netlink option ${option}`,
    );
  }
}

function timeval(seconds: number): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeUInt32LE(seconds, 0);
  return buffer;
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32LE(value);
  return buffer;
}

/** Returns the error in a part of a dump. NLMSG_DONE contains one if the dump failed halfway. */
function readFailure(reply: Message, name: string): NetlinkError | null {
  if (reply.type === NLMSG_ERROR) return readError(reply, name);
  if (reply.type !== NLMSG_DONE || reply.payload.length < 4) return null;
  const errno = -reply.payload.readInt32LE(0);
  return errno > 0 ? new NetlinkError(errno, name) : null;
}

/** Returns the error of an NLMSG_ERROR; null: it is an acknowledgment. */
function readError({ payload, flags }: Message, name: string): NetlinkError | null {
  const errno = -payload.readInt32LE(0);
  if (errno === 0) return null;
  return new NetlinkError(errno, name, extendedAck(payload, flags));
}

function extendedAck(payload: Buffer, flags: number): string | undefined {
  if ((flags & NLM_F_ACK_TLVS) === 0) return undefined;
  // After errno follows the request; only its header if the kernel capped it.
  const requestBytes = (flags & NLM_F_CAPPED) !== 0 ? 16 : payload.readUInt32LE(4);
  return new NetlinkAttributes(payload, 4 + ((requestBytes + 3) & ~3)).string(NLMSGERR_ATTR_MSG);
}
