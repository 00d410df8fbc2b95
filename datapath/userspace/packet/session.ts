/** Local endpoints, tunnels and sessions as the packet path uses them, with references to each other. */
import { cookieWords, type SessionRx, type SessionTx } from "../../../l2tp/codec.ts";
import { ReceiveOrder } from "../../../l2tp/reorder.ts";
import { encodeSockaddr, SOCKADDR_BYTES } from "../../../linux/socket.ts";
import {
  createEndpointCounters,
  createSessionCounters,
  type Endpoint,
  type EndpointCounters,
  type Session,
  type SessionCounters,
  type Tunnel,
} from "../../../model/model.ts";
import {
  type FrameRewriter,
  type PseudowireType,
  pseudowireOf,
} from "../../../model/pseudowires/index.ts";
import { parseMac } from "../../../net/mac.ts";
import { type AddressPair, addressPair, CircuitTable } from "./circuit-table.ts";
import { Account } from "./deficit.ts";
import type { DatagramSocket, FrameDevice } from "./ports.ts";

const MAX_DATAGRAM_BYTES = 65_535;

/**
 * A local address (and port) with one socket for all its tunnels. A tunnel with a socket owner has its own endpoint.
 */
export class LocalEndpoint {
  readonly key: string;
  readonly socket: DatagramSocket;
  readonly overUdp: boolean;
  /** True for raw IPv4 sockets: only those include the IP header. */
  readonly receivesIpHeader: boolean;
  readonly counters: EndpointCounters = createEndpointCounters();
  /** The account of its received datagrams. Each session with datagrams adds a share. */
  readonly account = new Account();
  /** Keyed by session ID as a signed 32-bit number, which V8 stores without allocation. */
  readonly sessions = new Map<number, PacketSession>();
  /** Sessions of keyed tunnels; null: the socket never had one. */
  circuits: CircuitTable<PacketSession> | null = null;
  /** The last received unknown session ID; 0: none yet. */
  lastUnknownSession = 0;
  /** The number of its tunnels. */
  users = 0;
  /** True if a tunnel of the socket has ever used ECN: the kernel reports traffic classes. */
  readsTrafficClass = false;

  constructor(key: string, tunnel: Tunnel, socket: DatagramSocket) {
    this.key = key;
    this.socket = socket;
    this.overUdp = tunnel.encapsulation === "UDP";
    this.receivesIpHeader = !this.overUdp && !tunnel.local.address.includes(":");
  }

  static keyOf(tunnel: Tunnel): string {
    const { encapsulation, local, remote, device, socketOwner, localPrefix } = tunnel;
    const bound = device === undefined ? "" : ` ${device.index}`;
    if (localPrefix !== undefined) return `${encapsulation} ${localPrefix}${bound}`;
    const key = `${encapsulation} ${local.address} ${local.port}${bound}`;
    return socketOwner !== undefined ? `${key} ${remote.address} ${remote.port}` : key;
  }

  sessionOf(sessionId: number): PacketSession | undefined {
    return this.sessions.get(sessionId | 0);
  }

  /** Returns the session that receives the frames of the given session's address pair, or of its session ID. */
  receiverFor({ config, tunnel: { pair } }: PacketSession): PacketSession | undefined {
    return pair === null ? this.sessionOf(config.sessionId) : this.circuits?.get(pair);
  }

  /** Assigns the frames to the session. @returns the session that received them before */
  assign(session: PacketSession): PacketSession | undefined {
    const { config, tunnel } = session;
    // The session ID is not negotiated yet.
    if (config.sessionId === 0) return undefined;
    const before = this.receiverFor(session);
    if (tunnel.pair === null) this.sessions.set(config.sessionId | 0, session);
    else {
      this.circuits ??= new CircuitTable(tunnel.source !== null);
      this.circuits.set(tunnel.pair, session);
    }
    return before;
  }

  /** Stops assigning frames to the session. Does nothing if another session has taken them over. */
  unassign(session: PacketSession): void {
    if (this.receiverFor(session) !== session) return;
    const { config, tunnel } = session;
    if (tunnel.pair === null) this.sessions.delete(config.sessionId | 0);
    else this.circuits?.delete(tunnel.pair);
  }
}

/** A tunnel as the packet path uses it. */
export class PacketTunnel {
  config: Tunnel;
  endpoint: LocalEndpoint;
  /** The remote as a struct sockaddr, in 32-bit words. */
  remote: Uint32Array;
  /** The source address of datagrams, in the same form, if the socket has several addresses; null: it has one. */
  source: Uint32Array | null;
  /** The traffic class of the tunnel's packets, without the copied bits. */
  trafficClass: number;
  /** Bits of the traffic class that are copied from the datagram in each frame. */
  copiedClassBits: number;
  /** The addresses that identify the session of a keyed tunnel; null: session IDs do. */
  pair: AddressPair | null;
  readonly sessions = new Set<PacketSession>();
  /** The largest segment, in bytes, that the kernel is asked for; 0: no segmentation. */
  segmentLimit: number;
  /** True if the kernel has refused to segment since the tunnel was configured. */
  hasRefused = false;
  /** Messages until larger segments are retried, because the path MTU may have increased; 0: no retry. */
  #untilRetry = 0;
  /** The errno of the last datagram; 0: it was sent. */
  lastSendErrno = 0;
  /** The struct sockaddr of the last datagram for one of its sessions that did not come from the remote. */
  readonly unexpectedSource = new Uint8Array(SOCKADDR_BYTES);
  /** The time of that datagram, by the loop's clock; −1: none yet. */
  unexpectedSourceMs = -1;

  constructor(config: Tunnel, endpoint: LocalEndpoint) {
    this.config = config;
    this.endpoint = endpoint;
    this.remote = sockaddrWords(config.remote);
    this.source = config.localPrefix === undefined ? null : sockaddrWords(config.local);
    this.trafficClass = trafficClassOf(config);
    this.copiedClassBits = copiedClassBits(config);
    this.pair = config.keyed ? addressPair(this.remote, this.source ?? undefined) : null;
    this.segmentLimit = segmentLimit(config, endpoint);
  }

  configure(config: Tunnel, endpoint: LocalEndpoint): void {
    this.config = config;
    this.endpoint = endpoint;
    this.remote = sockaddrWords(config.remote);
    this.source = config.localPrefix === undefined ? null : sockaddrWords(config.local);
    this.trafficClass = trafficClassOf(config);
    this.copiedClassBits = copiedClassBits(config);
    this.pair = config.keyed ? addressPair(this.remote, this.source ?? undefined) : null;
    this.segmentLimit = segmentLimit(config, endpoint);
    this.hasRefused = false;
    this.#untilRetry = 0;
  }

  /** @param isForGood true: never retry */
  limitSegments(bytes: number, isForGood: boolean): void {
    this.segmentLimit = bytes;
    this.#untilRetry = isForGood ? 0 : RETRY_MESSAGES;
  }

  /** Counts a message of the tunnel. */
  countMessage(): void {
    if (this.#untilRetry === 0) return;
    this.#untilRetry--;
    if (this.#untilRetry === 0) this.segmentLimit = segmentLimit(this.config, this.endpoint);
  }
}

/** A rejected message costs about as much as forty datagrams that are sent singly. */
const RETRY_MESSAGES = 4096;

/** The kernel does not segment messages without a checksum (udp_send_skb). */
function segmentLimit({ udpChecksum }: Tunnel, { socket }: LocalEndpoint): number {
  return socket.canSegment && udpChecksum ? MAX_DATAGRAM_BYTES : 0;
}

/** The DSCP is the upper six bits of the traffic class (RFC 2474), ECN the lower two (RFC 3168). */
const DSCP_BITS = 0xfc;
const ECN_BITS = 0x03;

function trafficClassOf({ dscp = 0 }: Tunnel): number {
  return dscp === "Copy" ? 0 : dscp << 2;
}

/** ECN is copied if the peer propagates congestion marks back (RFC 6040, 4.1). */
function copiedClassBits({ dscp, ecn }: Tunnel): number {
  return (dscp === "Copy" ? DSCP_BITS : 0) | (ecn ? ECN_BITS : 0);
}

function sockaddrWords(end: Endpoint): Uint32Array {
  return new Uint32Array(encodeSockaddr(end).buffer);
}

/** The `looksMisaligned` of types without one. */
const guessNothing = () => false;

/** A session as the packet path uses it. */
export class PacketSession {
  config: Session;
  tunnel: PacketTunnel;
  tx: SessionTx;
  rx: SessionRx;
  /** The settings with the previous cookie; null: frames with a previous cookie are not accepted. */
  previousRx: SessionRx | null;
  /** Converts frames between device and wire format; null: both are the same. */
  rewriter: FrameRewriter | null = null;
  /** True if received frames are delivered immediately, without ordering. */
  isDirect = true;
  /** True if the device's frames are IP datagrams, without an Ethernet header. */
  isBare = false;
  /** The largest frame on the wire: the kernel's limit for l2tpeth (is_skb_forwardable), plus the type's header. */
  maxFrameBytes = 0;
  /** The smallest frame on the wire. */
  minWireBytes = 0;
  looksMisaligned: NonNullable<PseudowireType["looksMisaligned"]> = guessNothing;
  /** The required source address of its device's frames: the first two bytes (−1: any address), and the rest. */
  sourceHead = -1;
  sourceTail = 0;
  /** null: received sequence numbers are ignored. */
  order: ReceiveOrder | null;
  /** Indexed by slot of `order`: the hold pool's slot with the frame, and the frame's length. */
  readonly held: Int32Array;
  readonly heldBytes: Int32Array;
  device: FrameDevice | null = null;
  /** The session to which frames are switched while this session has no device (switch.ts); null: none. */
  partner: PacketSession | null = null;
  /** The carrier of its device. */
  hasCarrier = true;
  readonly counters: SessionCounters = createSessionCounters();
  /** When this process last received a frame, by the loop's clock; −1: none yet. */
  lastReceivedMs = -1;
  /**
   * The number of small frames that its device probably has: about as many as in the last turn. Below 0: unexpected
   * large frames came, so the next turns, as many as the absolute value, read singly.
   */
  expectedFrames = 0;
  /** The account of its device's frames. */
  readonly account = new Account();
  /** The receiver's last turn with a frame of this session. */
  heardInTurn = 0;

  constructor(config: Session, tunnel: PacketTunnel) {
    this.config = config;
    this.tunnel = tunnel;
    this.order = receiveOrder(config);
    this.held = new Int32Array(HELD_FRAMES);
    this.heldBytes = new Int32Array(HELD_FRAMES);
    this.tx = sessionTx(config, tunnel, 0);
    this.rx = sessionRx(config);
    this.previousRx = previousRx(config);
    this.#carry(config);
    this.#holdToMac(config);
  }

  /** False: another session has taken over its session ID. */
  get isReceiving(): boolean {
    return this.tunnel.endpoint.receiverFor(this) === this;
  }

  /** Applies a changed configuration. Sent sequence numbers continue, and received ones if the IDs are the same. */
  configure(config: Session, tunnel: PacketTunnel): void {
    const before = this.config.sequencing;
    const after = config.sequencing;
    if (
      before.receive !== after.receive ||
      before.reorderTimeoutMs !== after.reorderTimeoutMs ||
      this.config.l2SpecificSublayer !== config.l2SpecificSublayer ||
      this.config.sessionId !== config.sessionId ||
      this.config.peerSessionId !== config.peerSessionId
    ) {
      this.order = receiveOrder(config);
    }
    this.tx = sessionTx(config, tunnel, this.tx.sequence);
    this.rx = sessionRx(config);
    this.previousRx = previousRx(config);
    this.#carry(config);
    this.#holdToMac(config);
    this.config = config;
    this.tunnel = tunnel;
  }

  /** Applies the pseudowire type. Call it after `order` is set. */
  #carry(config: Session): void {
    const type = pseudowireOf(config);
    this.rewriter = type.createRewriter?.(config, this.counters) ?? null;
    this.isDirect = this.order === null;
    this.isBare = type.device?.hasMac === false;
    this.maxFrameBytes = maxFrameBytes(config, type);
    this.minWireBytes = type.minFrameBytes;
    this.looksMisaligned = type.looksMisaligned ?? guessNothing;
  }

  #holdToMac({ sourceMac }: Session): void {
    this.sourceHead = -1;
    if (sourceMac === undefined) return;
    const { buffer } = parseMac(sourceMac);
    const view = new DataView(buffer);
    this.sourceTail = view.getInt32(2);
    this.sourceHead = view.getUint16(0);
  }
}

/** The maximum number of out-of-order frames that a session holds. */
export const HELD_FRAMES = 64;

function receiveOrder({ sequencing, l2SpecificSublayer }: Session): ReceiveOrder | null {
  return sequencing.receive && l2SpecificSublayer === "Default"
    ? new ReceiveOrder(sequencing.reorderTimeoutMs, HELD_FRAMES)
    : null;
}

function sessionTx(config: Session, tunnel: PacketTunnel, sequence: number): SessionTx {
  return {
    overUdp: tunnel.config.encapsulation === "UDP",
    sessionId: config.peerSessionId,
    ...cookieWords(config.txCookie),
    sublayer: config.l2SpecificSublayer === "Default",
    sequencing: config.sequencing.send,
    sequence,
  };
}

function sessionRx(config: Session): SessionRx {
  return {
    ...cookieWords(config.rxCookie),
    sublayer: config.l2SpecificSublayer === "Default",
  };
}

function previousRx({ previousRxCookie, ...config }: Session): SessionRx | null {
  if (previousRxCookie === undefined) return null;
  return sessionRx({ ...config, rxCookie: previousRxCookie });
}

function maxFrameBytes({ mtu }: Session, { device, wireHeaderBytes }: PseudowireType): number {
  return mtu + wireHeaderBytes + (device?.spareBytes ?? 0);
}
