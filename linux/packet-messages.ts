/** Reads messages of a packet socket, many in one system call (recvmmsg(2), packet(7), cmsg(3)). */
import { Errno, SystemError } from "./errno.ts";
import { lastErrno, packet } from "./ffi.ts";
import { addressOf, createMemory, type Memory, setWord64 } from "./memory.ts";

const MSG_DONTWAIT = 0x40;
/** The maximum number of messages in one system call. */
export const BATCH = 32;
/** The largest packet that the kernel creates by joining. */
export const MAX_SNAP_BYTES = 64 * 1024;
/** The snap length of most captures. Memory for longer packets is allocated when it is first used. */
const SHORT_SNAP_BYTES = 256;

/** struct mmsghdr on LP64. The kernel requires an array of them. */
const HEADER = { name: 0, nameBytes: 8, iov: 16, iovCount: 24, control: 32, controlBytes: 40 };
const HEADER_LENGTH = 56;
const HEADER_BYTES = 64;
/** struct iovec, to which a header points. */
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

/** Memory for a batch of packets with one snap length, and the offsets of its parts. */
class Room {
  readonly memory: Memory;
  readonly snapBytes: number;
  readonly #stride: number;

  constructor(snapBytes: number) {
    this.snapBytes = snapBytes;
    this.#stride = IOVEC_BYTES + ADDRESS_BYTES + CONTROL_BYTES + snapBytes;
    this.memory = createMemory(BATCH * (HEADER_BYTES + this.#stride));
  }

  at(index: number): { iovec: number; address: number; control: number; octets: number } {
    const iovec = BATCH * HEADER_BYTES + index * this.#stride;
    const address = iovec + IOVEC_BYTES;
    const control = address + ADDRESS_BYTES;
    return { iovec, address, control, octets: control + CONTROL_BYTES };
  }
}

/** Shared by all sockets: a call ends before the thread's next one begins. */
const rooms = new Map<number, Room>();

function roomFor(snapBytes: number): Room {
  const size = snapBytes <= SHORT_SNAP_BYTES ? SHORT_SNAP_BYTES : MAX_SNAP_BYTES;
  const room = rooms.get(size) ?? new Room(size);
  rooms.set(size, room);
  return room;
}

/**
 * Reads the messages that are queued at a socket: at most `max`, and at most a batch.
 * @param snapBytes bytes that the socket's filter keeps of a packet
 * @throws SystemError
 */
export function readPacketMessages(fd: number, max: number, snapBytes: number): PacketMessage[] {
  const room = roomFor(snapBytes);
  const count = Math.min(max, BATCH);
  for (let index = 0; index < count; index++) prepare(room, index);
  const headers = addressOf(room.memory, 0, count * HEADER_BYTES);
  const received = packet.recvmmsg(fd, headers, count, MSG_DONTWAIT, null);
  if (received < 0) {
    const errno = lastErrno();
    // ENETDOWN reports a device that went down. The socket still works, and other devices still deliver.
    if ([Errno.EAGAIN, Errno.EINTR, Errno.ENETDOWN].includes(errno)) return [];
    throw new SystemError(errno, "recvmmsg", "AF_PACKET");
  }
  return Array.from({ length: received }, (_, index) => messageAt(room, index));
}

function prepare(room: Room, index: number): void {
  const { memory: of, snapBytes } = room;
  const { view } = of;
  const header = index * HEADER_BYTES;
  const { iovec, address, control, octets } = room.at(index);
  setWord64(view, iovec, addressOf(of, octets, snapBytes));
  setWord64(view, iovec + 8, snapBytes);
  setWord64(view, header + HEADER.name, addressOf(of, address, ADDRESS_BYTES));
  view.setUint32(header + HEADER.nameBytes, ADDRESS_BYTES, true);
  setWord64(view, header + HEADER.iov, addressOf(of, iovec, IOVEC_BYTES));
  setWord64(view, header + HEADER.iovCount, 1);
  setWord64(view, header + HEADER.control, addressOf(of, control, CONTROL_BYTES));
  setWord64(view, header + HEADER.controlBytes, CONTROL_BYTES);
}

function messageAt(room: Room, index: number): PacketMessage {
  const { bytes, view } = room.memory;
  const header = index * HEADER_BYTES;
  const { address, control, octets } = room.at(index);
  const length = Math.min(view.getUint32(header + HEADER_LENGTH, true), room.snapBytes);
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
