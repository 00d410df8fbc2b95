/** Finds faults in captured datagrams of a tunnel. Pure. */
import type { TunnelState } from "../../../datapath/datapath.ts";
import { type DataHeader, describeDatagram } from "../../../l2tp/describe-data.ts";
import type { SocketAddress } from "../../../linux/socket.ts";
import type { Session, SessionCounters } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";

/** A datagram of the tunnel's protocol, to or from its local address. */
export interface SeenDatagram {
  readonly outgoing: boolean;
  readonly packet: IpPacket;
  /** The payload of UDP or IP; the capture may have truncated it. */
  readonly payload: Uint8Array;
}

/** A number of observations, and the last one. */
export interface Sightings<T> {
  readonly count: number;
  readonly last: T | null;
}

/** Numbers of a session's datagrams by fault, named like the counters. */
export type SessionSightings = Pick<
  SessionCounters,
  "rxCookieDiscards" | "rxInvalid" | "rxSourceMismatch" | "rxSublayerSuspect"
>;

export interface TunnelWire {
  /** All datagrams from the remote. */
  readonly received: number;
  /** Datagrams to the remote. */
  readonly sent: number;
  /** Data messages with a session ID that no session of the node has. */
  readonly unknownSessions: Sightings<number>;
  /** Data messages of the tunnel's sessions from another address or port than the remote's. */
  readonly otherSources: Sightings<SocketAddress>;
  /** L2TPv3 datagrams from the remote to another port than the local one. */
  readonly otherPorts: Sightings<number>;
  readonly controlMessages: number;
  /** Faults of data messages, by the key of the session. */
  readonly sessions: ReadonlyMap<string, SessionSightings>;
  /** Data messages without a fault, by the key of the session. */
  readonly rightMessages: ReadonlyMap<string, number>;
}

/** The tunnel's sessions, and the session IDs of other tunnels. */
export interface WireContext {
  /** The tunnel's sessions with the IDs of their frames. */
  readonly sessions: readonly Session[];
  /** Returns true if another tunnel has the session ID. */
  isOthers(sessionId: number): boolean;
}

const NOTHING: SessionSightings = {
  rxCookieDiscards: 0,
  rxInvalid: 0,
  rxSourceMismatch: 0,
  rxSublayerSuspect: 0,
};

/** Reads the datagrams of one tunnel in order of arrival. */
export class WireReader {
  readonly #overUdp: boolean;
  /** False with a control connection: the peer may send from another port than it listens on (RFC 3931, 4.1.2.1). */
  readonly #hasFixedPorts: boolean;
  readonly #local: SocketAddress;
  readonly #remote: SocketAddress;
  readonly #context: WireContext;
  readonly #byId: ReadonlyMap<number, Session>;
  readonly #sessions = new Map<string, { -readonly [K in keyof SessionSightings]: number }>();
  readonly #unknown: { count: number; last: number | null } = { count: 0, last: null };
  readonly #others: { count: number; last: SocketAddress | null } = { count: 0, last: null };
  readonly #ports: { count: number; last: number | null } = { count: 0, last: null };
  readonly #right = new Map<string, number>();
  #received = 0;
  #sent = 0;
  #control = 0;

  constructor({ tunnel, control }: TunnelState, context: WireContext) {
    this.#overUdp = tunnel.encapsulation === "UDP";
    this.#hasFixedPorts = this.#overUdp && control === undefined;
    this.#local = tunnel.local;
    this.#remote = (control ?? tunnel).remote;
    this.#context = context;
    this.#byId = new Map(context.sessions.map((session) => [session.sessionId, session]));
  }

  take(seen: SeenDatagram): void {
    const { source, destinationPort } = seen.packet;
    if (seen.outgoing) {
      this.#sent++;
      return;
    }
    const isFromRemote = source === this.#remote.address;
    if (isFromRemote) this.#received++;
    const described = describeDatagram(seen.payload, this.#overUdp, (id) => this.#layoutOf(id));
    if (described.kind === "other version") return;
    if (this.#overUdp && destinationPort !== this.#local.port) {
      this.#ports.count++;
      this.#ports.last = destinationPort;
      return;
    }
    if (described.kind === "control") {
      if (isFromRemote) this.#control++;
      return;
    }
    if (described.sessionId === null) return;
    const session = this.#byId.get(described.sessionId);
    if (session === undefined) return this.#takeUnknown(described.sessionId, isFromRemote);
    this.#takeOf(session, seen, described.kind === "data" ? described : null);
  }

  result(): TunnelWire {
    return {
      received: this.#received,
      sent: this.#sent,
      unknownSessions: { ...this.#unknown },
      otherSources: { ...this.#others },
      otherPorts: { ...this.#ports },
      controlMessages: this.#control,
      sessions: new Map(Array.from(this.#sessions, ([key, counts]) => [key, { ...counts }])),
      rightMessages: new Map(this.#right),
    };
  }

  #layoutOf(sessionId: number) {
    const session = this.#byId.get(sessionId);
    if (session === undefined) return null;
    const { rxCookie, l2SpecificSublayer } = session;
    return { cookieBytes: rxCookie.length / 2, hasSublayer: l2SpecificSublayer === "Default" };
  }

  #takeUnknown(sessionId: number, isFromRemote: boolean): void {
    // The message belongs to another tunnel, or is not from a remote.
    if (!isFromRemote || this.#context.isOthers(sessionId)) return;
    this.#unknown.count++;
    this.#unknown.last = sessionId;
  }

  /** @param header null: the datagram ends inside the header */
  #takeOf(session: Session, { packet, payload }: SeenDatagram, header: DataHeader | null): void {
    const counts = this.#sessions.get(session.key) ?? { ...NOTHING };
    this.#sessions.set(session.key, counts);
    if (!this.#isRemote(packet)) {
      counts.rxSourceMismatch++;
      this.#others.count++;
      this.#others.last = { address: packet.source, port: packet.sourcePort };
      return;
    }
    const type = pseudowireOf(session);
    const frameBytes = header === null ? -1 : packet.payloadBytes - header.frameAt;
    if (header === null || frameBytes < type.minFrameBytes) counts.rxInvalid++;
    else if (!isCookieOf(session, header.cookie)) counts.rxCookieDiscards++;
    else if (isMisaligned(session, payload, header.frameAt, frameBytes)) counts.rxSublayerSuspect++;
    else this.#right.set(session.key, (this.#right.get(session.key) ?? 0) + 1);
  }

  #isRemote({ source, sourcePort }: IpPacket): boolean {
    const { address, port } = this.#remote;
    return source === address && (!this.#hasFixedPorts || sourcePort === port);
  }
}

const isCookieOf = ({ rxCookie, previousRxCookie }: Session, cookie: string): boolean =>
  cookie === rxCookie || cookie === previousRxCookie;

/** @param bytes length of the frame on the wire; the captured part suffices for every type */
function isMisaligned(
  session: Session,
  payload: Uint8Array,
  frameAt: number,
  bytes: number,
): boolean {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const expectsSublayer = session.l2SpecificSublayer === "Default";
  return pseudowireOf(session).looksMisaligned?.(view, frameAt, bytes, expectsSublayer) ?? false;
}
