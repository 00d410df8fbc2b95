/** Captures packets of the node by a packet socket (packet(7)): bounded, and beside the packets' own way. */
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
/** All protocols: sockets of a single one are not shown what the node sends. */
const ETH_P_ALL = 0x0003;
/** struct sockaddr_ll. */
const ADDRESS_BYTES = 20;
const PACKET_OTHERHOST = 3;
const PACKET_OUTGOING = 4;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
/** struct tpacket_stats: packets, and those of them that were dropped. */
const STATISTICS_BYTES = 8;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;

/** The headers of IPv6, UDP and a data message, and those of the frame inside. */
const SNAP_BYTES = 128;
/** Some hundred packets of 1,500 bytes, as the kernel counts them. */
const BUFFER_BYTES = 256 * 1024;
/** Packets of one length are one packet if so much of them is the same. */
const COMPARED_BYTES = 256;
/** So many packets are remembered, to know them again at another device. */
const REMEMBERED = 256;

export interface CaptureOptions {
  /** The path of a network namespace; null: the process's own. */
  readonly netns?: string | null;
  /** As much of each packet is kept, at most 64 KiB. */
  readonly snapBytes?: number;
  /** Room for packets that are not read yet. More than fit are dropped, and counted. */
  readonly bufferBytes?: number;
}

export interface CapturedIpPacket {
  /** The node sends it. */
  readonly outgoing: boolean;
  /** The index of the device that showed it first. */
  readonly device: number;
  /** UNIX time in seconds, by the kernel's clock. */
  readonly seconds: number;
  /** From the IP header on, cut at the snap length. */
  readonly octets: Uint8Array<ArrayBuffer>;
}

/**
 * Packets that pass the devices of a namespace, from now on until `close`. What nobody reads costs no more than the
 * filter once the room is full. Several datagrams may stand in one packet, where the kernel cuts or joins them
 * (UDP_SEGMENT, UDP_GRO).
 */
export class PacketCapture {
  readonly #fd: number;
  readonly #snapBytes: number;
  #dropped = 0;
  /** The device of each packet, by its direction and octets, in the order of their arrival. */
  readonly #devices = new Map<string, number>();

  /** @throws SystemError EPERM without CAP_NET_RAW; TypeError or RangeError where an argument is wrong */
  constructor(filter: PacketFilter, options: CaptureOptions = {}) {
    const { netns = null, snapBytes = SNAP_BYTES, bufferBytes = BUFFER_BYTES } = options;
    if (snapBytes > MAX_SNAP_BYTES) throw new RangeError(`a snap length of ${snapBytes} bytes`);
    const program = packetFilter(filter, snapBytes);
    this.#snapBytes = snapBytes;
    this.#fd = inNetns(netns, () => open(program, bufferBytes));
  }

  /** The oldest packets that are not read yet, `max` at most. Never waits. @throws SystemError */
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

  /** The number of packets that passed the filter and found no room. @throws SystemError */
  get dropped(): number {
    const statistics = new Uint8Array(STATISTICS_BYTES);
    const length = new Uint8Array(new Uint32Array([STATISTICS_BYTES]).buffer);
    const result = c.getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics, length);
    checked(result, "getsockopt", "PACKET_STATISTICS");
    // Reading sets the kernel's count to 0.
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

  /** A bridge, a bond or a VLAN shows a packet that its lower device shows, too. */
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
  // Without a protocol nothing comes in: the filter must be there first.
  const fd = checked(c.socket(AF_PACKET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0), "socket", "AF_PACKET");
  try {
    attachFilter(fd, program);
    // The kernel doubles the number.
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
