/**
 * Queues datagrams for a socket. One system call sends several messages. A message contains as many datagrams to one
 * remote as the kernel segments again after its network stack (UDP_SEGMENT, udp(7)).
 */
import { Errno } from "../../../linux/errno.ts";
import { type Arena, FrameSlots } from "./arena.ts";
import type { PacketSession, PacketTunnel } from "./session.ts";
import { IoVectors, MessageVectors } from "./vectors.ts";

const MAX_MESSAGES = 64;
const MAX_DATAGRAMS = 512;
/** The smallest UDP_MAX_SEGMENTS of all kernels (include/linux/udp.h). */
const MAX_SEGMENTS = 64;
/** The largest UDP payload over IPv4. */
const MAX_MESSAGE_BYTES = 65_507;
/** Slots for queued frames. */
const FRAME_SLOTS = 64;
/** A flush at this size keeps queued bytes in the cache until they are sent. */
const FLUSH_BYTES = 512 * 1024;
/** The capacity for the segments of large frames. */
const WRITE_BYTES = 2 * FLUSH_BYTES;

/** Called when the kernel or a device refuses to segment. The tunnel's datagrams are then sent singly. */
export type SegmentRefused = (tunnel: PacketTunnel, segmentBytes: number, errno: number) => void;

export class SendQueue {
  readonly #frames: FrameSlots;
  readonly #writeBase: number;
  readonly #refused: SegmentRefused;
  readonly #vectors: IoVectors;
  readonly #messages: MessageVectors;
  /** Vectors for the single datagrams of a rejected message. */
  readonly #single: MessageVectors;
  /** Each datagram's session, the frame's bytes, address and bytes. */
  readonly #senders: (PacketSession | null)[] = new Array(MAX_DATAGRAMS).fill(null);
  readonly #frameBytes = new Int32Array(MAX_DATAGRAMS);
  readonly #at = new Int32Array(MAX_DATAGRAMS);
  readonly #bytes = new Int32Array(MAX_DATAGRAMS);
  /** Each message's first datagram and piece, and the bytes of each datagram except the last. */
  readonly #firstDatagram = new Int32Array(MAX_MESSAGES + 1);
  readonly #firstPiece = new Int32Array(MAX_MESSAGES + 1);
  readonly #segmentBytes = new Int32Array(MAX_MESSAGES);
  readonly #trafficClass = new Uint8Array(MAX_MESSAGES);
  #usedFrames = 0;
  #written = 0;
  #pieces = 0;
  #datagrams = 0;
  #messageCount = 0;
  #queuedBytes = 0;
  /** The last message: its tunnel, whether it may grow, and its bytes. */
  #tunnel: PacketTunnel | null = null;
  #isOpen = false;
  #messageBytes = 0;
  /** The last message's last piece. */
  #pieceAt = 0;
  #pieceEnd = 0;

  /** @param base address of SendQueue.BYTES in the arena */
  constructor(arena: Arena, base: number, refused: SegmentRefused) {
    // One more vector, for single datagrams.
    this.#vectors = new IoVectors(arena, MAX_DATAGRAMS + 1);
    this.#messages = new MessageVectors(this.#vectors, MAX_MESSAGES);
    this.#single = new MessageVectors(this.#vectors, 1);
    this.#frames = new FrameSlots(base);
    this.#writeBase = base + FrameSlots.bytes(FRAME_SLOTS);
    this.#refused = refused;
  }

  /** Bytes that it needs in the arena. */
  static readonly BYTES = FrameSlots.bytes(FRAME_SLOTS) + WRITE_BYTES;

  /** Returns the address for the next frame. Earlier frames are not overwritten until they are sent. */
  frameAt(): number {
    if (this.#usedFrames === FRAME_SLOTS || this.#queuedBytes >= FLUSH_BYTES) this.flush();
    return this.#frames.at(this.#usedFrames);
  }

  /** Keeps the frame at `at`, which is sent from its place. */
  keepFrame(at: number): void {
    if (at === this.#frames.at(this.#usedFrames)) this.#usedFrames++;
  }

  /** Reserves slots for up to FRAME_SLOTS frames, which count as kept. Returns the first slot. */
  reserveFrames(count: number): number {
    if (this.#usedFrames + count > FRAME_SLOTS || this.#queuedBytes >= FLUSH_BYTES) this.flush();
    const first = this.#usedFrames;
    this.#usedFrames += count;
    return first;
  }

  /** Returns the address of a reserved slot. */
  reservedAt(index: number): number {
    return this.#frames.at(index);
  }

  /** Returns the maximum number of datagrams of `bytes` each for which `writeAt` has room. */
  fitting(bytes: number): number {
    return Math.min(MAX_DATAGRAMS, Math.floor(WRITE_BYTES / bytes));
  }

  /** Returns the address for datagrams of `bytes` in total, to be written before `add`. */
  writeAt(bytes: number): number {
    if (this.#written + bytes > WRITE_BYTES) {
      this.#send();
      this.#written = 0;
    }
    const at = this.#writeBase + this.#written;
    this.#written += bytes;
    return at;
  }

  /**
   * Queues `count` adjacent datagrams from `at` on, of `bytes` each, with a frame of `frameBytes` in each.
   */
  add(
    session: PacketSession,
    at: number,
    bytes: number,
    frameBytes: number,
    trafficClass: number,
    count = 1,
  ): void {
    for (let next = at, rest = count; rest > 0; ) {
      if (this.#datagrams === MAX_DATAGRAMS) this.#send();
      if (!this.#joins(session.tunnel, bytes, trafficClass)) {
        this.#open(session.tunnel, bytes, trafficClass);
      }
      const some = Math.min(rest, this.#room(session.tunnel, bytes));
      this.#append(session, next, bytes, frameBytes, some);
      next += some * bytes;
      rest -= some;
    }
  }

  /** Returns the number of datagrams of `bytes` each that fit the last message; at least one does. */
  #room({ segmentLimit }: PacketTunnel, bytes: number): number {
    const last = this.#messageCount - 1;
    // A shorter datagram ends its message, and so does one that the kernel does not segment.
    if (bytes !== this.#segmentBytes[last] || bytes > segmentLimit) return 1;
    const room = Math.min(
      MAX_DATAGRAMS - this.#datagrams,
      MAX_SEGMENTS - (this.#datagrams - (this.#firstDatagram[last] as number)),
      Math.trunc((MAX_MESSAGE_BYTES - this.#messageBytes) / bytes),
    );
    return Math.max(1, room);
  }

  #append(session: PacketSession, at: number, bytes: number, frameBytes: number, count: number) {
    const first = this.#datagrams;
    const end = first + count;
    for (let index = first, next = at; index < end; index++, next += bytes) {
      this.#senders[index] = session;
      this.#at[index] = next;
    }
    this.#frameBytes.fill(frameBytes, first, end);
    this.#bytes.fill(bytes, first, end);
    this.#datagrams = end;
    const allBytes = count * bytes;
    this.#isOpen = bytes === this.#segmentBytes[this.#messageCount - 1];
    this.#queuedBytes += allBytes;
    if (this.#messageBytes > 0 && at === this.#pieceEnd) {
      this.#vectors.set(this.#pieces - 1, this.#pieceAt, at + allBytes - this.#pieceAt);
    } else {
      this.#vectors.set(this.#pieces, at, allBytes);
      this.#pieceAt = at;
      this.#pieces++;
    }
    this.#pieceEnd = at + allBytes;
    this.#messageBytes += allBytes;
  }

  /** Sends all queued datagrams. */
  flush(): void {
    this.#send();
    this.#usedFrames = 0;
    this.#written = 0;
  }

  #joins(tunnel: PacketTunnel, bytes: number, trafficClass: number): boolean {
    if (!this.#isOpen || tunnel !== this.#tunnel) return false;
    const last = this.#messageCount - 1;
    const segmentBytes = this.#segmentBytes[last] as number;
    return (
      trafficClass === this.#trafficClass[last] &&
      bytes <= segmentBytes &&
      segmentBytes <= tunnel.segmentLimit &&
      this.#datagrams - (this.#firstDatagram[last] as number) < MAX_SEGMENTS &&
      this.#messageBytes + bytes <= MAX_MESSAGE_BYTES
    );
  }

  #open(tunnel: PacketTunnel, bytes: number, trafficClass: number): void {
    if (this.#messageCount === MAX_MESSAGES || !goesWith(this.#tunnel, tunnel)) this.#send();
    tunnel.countMessage();
    this.#tunnel = tunnel;
    this.#messages.setDestination(this.#messageCount, tunnel.remote);
    this.#firstDatagram[this.#messageCount] = this.#datagrams;
    this.#firstPiece[this.#messageCount] = this.#pieces;
    this.#segmentBytes[this.#messageCount] = bytes;
    this.#trafficClass[this.#messageCount] = trafficClass;
    this.#messageBytes = 0;
    this.#messageCount++;
  }

  #send(): void {
    const tunnel = this.#tunnel;
    const count = this.#messageCount;
    if (tunnel === null || count === 0) return;
    this.#firstPiece[count] = this.#pieces;
    this.#firstDatagram[count] = this.#datagrams;
    for (let index = 0; index < count; index++) this.#seal(index);
    const { socket, overUdp } = tunnel.endpoint;
    if (overUdp) socket.setTransmitChecksum(tunnel.config.udpChecksum);
    for (let first = 0; first < count; ) {
      const sent = socket.send(this.#messages, first, count - first);
      if (sent > 0) {
        this.#countSent(
          this.#firstDatagram[first] as number,
          this.#firstDatagram[first + sent] as number,
        );
        first += sent;
      } else {
        this.#fail(first, -sent);
        first++;
      }
    }
    this.#pieces = 0;
    this.#datagrams = 0;
    this.#messageCount = 0;
    this.#queuedBytes = 0;
    this.#isOpen = false;
    this.#tunnel = null;
  }

  #seal(index: number): void {
    const datagrams =
      (this.#firstDatagram[index + 1] as number) - (this.#firstDatagram[index] as number);
    const piece = this.#firstPiece[index] as number;
    this.#messages.setPieces(index, piece, (this.#firstPiece[index + 1] as number) - piece);
    this.#messages.setSegment(index, datagrams > 1 ? (this.#segmentBytes[index] as number) : 0);
    const { source } = (this.#senders[this.#firstDatagram[index] as number] as PacketSession)
      .tunnel;
    if (source !== null) this.#messages.setSource(index, source);
    const trafficClass = this.#trafficClass[index] as number;
    if (trafficClass !== 0) this.#messages.addTrafficClass(index, trafficClass);
  }

  #fail(index: number, errno: number): void {
    const first = this.#firstDatagram[index] as number;
    const end = this.#firstDatagram[index + 1] as number;
    const { tunnel } = this.#senders[first] as PacketSession;
    if (end - first > 1 && isRefusal(errno)) {
      this.#refused(tunnel, this.#segmentBytes[index] as number, errno);
      this.#sendSingly(tunnel, first, end, this.#trafficClass[index] as number);
    } else {
      for (let datagram = first; datagram < end; datagram++) this.#countUnsent(datagram, errno);
    }
  }

  #sendSingly(tunnel: PacketTunnel, first: number, end: number, trafficClass: number): void {
    this.#single.setDestination(0, tunnel.remote);
    this.#single.setPieces(0, MAX_DATAGRAMS, 1);
    this.#single.setSegment(0, 0);
    if (trafficClass !== 0) this.#single.addTrafficClass(0, trafficClass);
    for (let datagram = first; datagram < end; datagram++) {
      this.#vectors.set(
        MAX_DATAGRAMS,
        this.#at[datagram] as number,
        this.#bytes[datagram] as number,
      );
      const sent = tunnel.endpoint.socket.send(this.#single, 0, 1);
      if (sent > 0) this.#countSent(datagram, datagram + 1);
      else this.#countUnsent(datagram, -sent);
    }
  }

  #countSent(first: number, end: number): void {
    for (let datagram = first; datagram < end; ) {
      const session = this.#senders[datagram] as PacketSession;
      const { counters } = session;
      session.tunnel.lastSendErrno = 0;
      const before = datagram;
      let bytes = 0;
      for (; datagram < end && this.#senders[datagram] === session; datagram++) {
        bytes += this.#frameBytes[datagram] as number;
      }
      counters.txPackets += datagram - before;
      counters.txBytes += bytes;
    }
  }

  #countUnsent(datagram: number, errno: number): void {
    const session = this.#senders[datagram] as PacketSession;
    session.counters.txErrors++;
    session.tunnel.lastSendErrno = errno;
  }
}

/** True if one call can send for both tunnels: it uses one socket with one checksum setting. */
function goesWith(one: PacketTunnel | null, other: PacketTunnel): boolean {
  return (
    one === null ||
    (one.endpoint === other.endpoint && one.config.udpChecksum === other.config.udpChecksum)
  );
}

/** True for errors of UDP_SEGMENT: no checksum offload in the device, larger than the path MTU, or not supported. */
function isRefusal(errno: number): boolean {
  return errno === Errno.EIO || errno === Errno.EINVAL || errno === Errno.EMSGSIZE;
}
