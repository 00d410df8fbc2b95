/** Reads messages of a packet socket, many by one system call (recvmmsg(2), packet(7), cmsg(3)). */
import { Errno, SystemError } from "./errno.ts";
import { lastErrno, packet } from "./ffi.ts";
import { addressOf, createMemory, type Memory, setWord64 } from "./memory.ts";

const MSG_DONTWAIT = 0x40;
/** So many messages are read by one system call. */
export const BATCH = 32;
export const MAX_SNAP_BYTES = 256;

/** struct mmsghdr of LP64. The kernel wants them side by side. */
const HEADER = { name: 0, nameBytes: 8, iov: 16, iovCount: 24, control: 32, controlBytes: 40 };
const HEADER_LENGTH = 56;
const HEADER_BYTES = 64;
/** What the pointers of a header lead to. */
const IOVEC_BYTES = 16;
/** struct sockaddr_ll, padded. */
const ADDRESS_BYTES = 24;
const ADDRESS = { ifindex: 4, type: 10 };
/** struct cmsghdr with a struct timespec. */
const CONTROL_BYTES = 32;
const TIME_AT = 16;
const NANOSECONDS = 1e9;

export interface PacketMessage {
  /** PACKET_HOST, PACKET_OUTGOING, … */
  readonly type: number;
  readonly ifindex: number;
  /** UNIX time in seconds; 0: the socket has no SO_TIMESTAMPNS. */
  readonly seconds: number;
  readonly octets: Uint8Array<ArrayBuffer>;
}

/** For all sockets: a call of a thread ends before its next one begins. */
let memory: Memory | undefined;

const at = (index: number): { iovec: number; address: number; control: number; octets: number } => {
  const stride = IOVEC_BYTES + ADDRESS_BYTES + CONTROL_BYTES + MAX_SNAP_BYTES;
  const iovec = BATCH * HEADER_BYTES + index * stride;
  const address = iovec + IOVEC_BYTES;
  const control = address + ADDRESS_BYTES;
  return { iovec, address, control, octets: control + CONTROL_BYTES };
};

/** Messages that wait at a socket, `max` at most and no more than a batch. @throws SystemError */
export function readPacketMessages(fd: number, max: number): PacketMessage[] {
  memory ??= createMemory(at(BATCH).iovec);
  const count = Math.min(max, BATCH);
  for (let index = 0; index < count; index++) prepare(memory, index);
  const headers = addressOf(memory, 0, count * HEADER_BYTES);
  const received = packet.recvmmsg(fd, headers, count, MSG_DONTWAIT, null);
  if (received < 0) {
    const errno = lastErrno();
    // Whatever else is wrong comes back with the next call: a device that went down, for one.
    if ([Errno.EAGAIN, Errno.EINTR, Errno.ENETDOWN].includes(errno)) return [];
    throw new SystemError(errno, "recvmmsg", "AF_PACKET");
  }
  const { bytes, view } = memory;
  return Array.from({ length: received }, (_, index) => messageAt(bytes, view, index));
}

function prepare(of: Memory, index: number): void {
  const { view } = of;
  const header = index * HEADER_BYTES;
  const { iovec, address, control, octets } = at(index);
  setWord64(view, iovec, addressOf(of, octets, MAX_SNAP_BYTES));
  setWord64(view, iovec + 8, MAX_SNAP_BYTES);
  setWord64(view, header + HEADER.name, addressOf(of, address, ADDRESS_BYTES));
  view.setUint32(header + HEADER.nameBytes, ADDRESS_BYTES, true);
  setWord64(view, header + HEADER.iov, addressOf(of, iovec, IOVEC_BYTES));
  setWord64(view, header + HEADER.iovCount, 1);
  setWord64(view, header + HEADER.control, addressOf(of, control, CONTROL_BYTES));
  setWord64(view, header + HEADER.controlBytes, CONTROL_BYTES);
}

function messageAt(bytes: Uint8Array, view: DataView, index: number): PacketMessage {
  const header = index * HEADER_BYTES;
  const { address, control, octets } = at(index);
  const length = Math.min(view.getUint32(header + HEADER_LENGTH, true), MAX_SNAP_BYTES);
  const hasTime = view.getUint32(header + HEADER.controlBytes, true) >= CONTROL_BYTES;
  const time = control + TIME_AT;
  return {
    type: view.getUint8(address + ADDRESS.type),
    ifindex: view.getInt32(address + ADDRESS.ifindex, true),
    seconds: hasTime
      ? Number(view.getBigInt64(time, true)) +
        Number(view.getBigInt64(time + 8, true)) / NANOSECONDS
      : 0,
    octets: new Uint8Array(bytes.subarray(octets, octets + length)),
  };
}
