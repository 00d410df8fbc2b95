/** Captures packets of the node with a packet socket (packet(7)): bounded, and without affecting the packets. */
import { attachFilter } from "./classic-bpf.ts";
import { checked } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { inNetns } from "./netns.ts";
import { type PacketFilter, packetFilter } from "./packet-filter.ts";
import {
  BATCH,
  MAX_SNAP_BYTES,
  type PacketMessage,
  readPacketMessages,
} from "./packet-messages.ts";

const AF_PACKET = 17;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
/** All protocols: a socket for a single protocol does not receive packets that the node sends. */
const ETH_P_ALL = 0x0003;
/** struct sockaddr_ll. */
const ADDRESS_BYTES = 20;
const PACKET_OTHERHOST = 3;
const PACKET_OUTGOING = 4;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
/** struct tpacket_stats: all packets, and dropped packets. */
const STATISTICS_BYTES = 8;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;

/** Enough for the headers of IPv6, UDP, a data message and the frame inside. */
const SNAP_BYTES = 128;
/** Some hundred packets of 1,500 bytes, with the kernel's overhead. */
const BUFFER_BYTES = 256 * 1024;
/** Packets of one length are the same packet if these first bytes are equal. */
const COMPARED_BYTES = 256;
/** The number of packets that are remembered, to recognize them at another device. */
const REMEMBERED = 256;

export interface CaptureOptions {
  /** The path of a network namespace; null: the process's own. */
  readonly netns?: string | null;
  /** Bytes that are kept of each packet, at most 64 KiB. */
  readonly snapBytes?: number;
  /** Bytes of the buffer for unread packets. Packets that do not fit are dropped and counted. */
  readonly bufferBytes?: number;
}

export interface CapturedIpPacket {
  /** True: the node sent it. */
  readonly outgoing: boolean;
  /** The index of the first device that showed it. */
  readonly device: number;
  /** UNIX time in seconds, by the kernel's clock. */
  readonly seconds: number;
  /** The packet from the IP header on, truncated at the snap length. */
  readonly octets: Uint8Array<ArrayBuffer>;
}

/**
 * Captures packets that pass the devices of a namespace, until `close`. Once the buffer is full, further packets cost
 * only the filter. A packet can contain several datagrams if the kernel segments or joins them (UDP_SEGMENT, UDP_GRO).
 */
export class PacketCapture {
  readonly #fd: number;
  readonly #snapBytes: number;
  #dropped = 0;
  /** The device of each packet, by direction and octets, in order of arrival. */
  readonly #devices = new Map<string, number>();

  /** @throws SystemError EPERM without CAP_NET_RAW; TypeError or RangeError for an invalid argument */
  constructor(filter: PacketFilter, options: CaptureOptions = {}) {
    const { netns = null, snapBytes = SNAP_BYTES, bufferBytes = BUFFER_BYTES } = options;
    if (snapBytes > MAX_SNAP_BYTES) throw new RangeError(`snap length too large: ${snapBytes}`);
    const program = packetFilter(filter, snapBytes);
    this.#snapBytes = snapBytes;
    this.#fd = inNetns(netns, () => open(program, bufferBytes));
  }

  /** Returns the oldest unread packets, at most `max`. Never blocks. @throws SystemError */
  read(max = BATCH): CapturedIpPacket[] {
    const found: CapturedIpPacket[] = [];
    for (let left = max; left > 0; ) {
      const messages = readPacketMessages(this.#fd, left, this.#snapBytes);
      for (const message of messages) this.#take(message, found);
      if (messages.length < Math.min(left, BATCH)) break;
      left -= messages.length;
    }
    return found;
  }

  /** The number of packets that passed the filter but did not fit the buffer. @throws SystemError */
  get dropped(): number {
    const statistics = new Uint8Array(STATISTICS_BYTES);
    const length = new Uint8Array(new Uint32Array([STATISTICS_BYTES]).buffer);
    const result = c.getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics, length);
    checked(result, "getsockopt", "PACKET_STATISTICS");
    // Reading resets the kernel's counter.
    this.#dropped += new DataView(statistics.buffer).getUint32(4, true);
    return this.#dropped;
  }

  close(): void {
    closeFd(this.#fd);
  }

  #take({ type, ifindex, seconds, octets }: PacketMessage, found: CapturedIpPacket[]): void {
    if (type === PACKET_OTHERHOST) return;
    const outgoing = type === PACKET_OUTGOING;
    if (this.#isRepetition(outgoing, ifindex, octets)) return;
    found.push({ outgoing, device: ifindex, seconds, octets });
  }

  /** True for a packet that another device has shown: a bridge, bond or VLAN repeats packets of its lower device. */
  #isRepetition(outgoing: boolean, device: number, octets: Uint8Array): boolean {
    const head = Buffer.from(octets.subarray(0, COMPARED_BYTES)).toString("latin1");
    const key = `${outgoing} ${octets.length} ${head}`;
    const first = this.#devices.get(key);
    if (first !== undefined) return first !== device;
    this.#devices.set(key, device);
    const [oldest] = this.#devices.keys();
    if (this.#devices.size > REMEMBERED && oldest !== undefined) this.#devices.delete(oldest);
    return false;
  }
}

function open(program: Uint8Array, bufferBytes: number): number {
  // Protocol 0 receives nothing until bind: the filter must be attached first.
  const fd = checked(c.socket(AF_PACKET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0), "socket", "AF_PACKET");
  try {
    attachFilter(fd, program);
    // The kernel doubles the value.
    setOption(fd, SO_RCVBUFFORCE, Math.ceil(bufferBytes / 2), "SO_RCVBUFFORCE");
    setOption(fd, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS");
    const address = new DataView(new ArrayBuffer(ADDRESS_BYTES));
    address.setUint16(0, AF_PACKET, true);
    address.setUint16(2, ETH_P_ALL);
    const bytes = new Uint8Array(address.buffer);
    checked(c.bind(fd, bytes, bytes.length), "bind", "AF_PACKET");
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function setOption(fd: number, option: number, value: number, name: string): void {
  const bytes = new Uint8Array(new Int32Array([value]).buffer);
  checked(c.setsockopt(fd, SOL_SOCKET, option, bytes, bytes.length), "setsockopt", name);
}
