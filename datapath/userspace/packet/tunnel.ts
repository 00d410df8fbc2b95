import { encodeSockaddr, SOCKADDR_BYTES } from "../../../linux/socket.ts";
import {
  createEndpointCounters,
  type EndpointCounters,
  type Tunnel,
} from "../../../model/model.ts";
import { Account } from "./deficit.ts";
import type { DatagramSocket } from "./ports.ts";
import type { SessionState } from "./session.ts";

const MAX_DATAGRAM_BYTES = 65_535;

/** A local address (and port): one socket for all the tunnels on it, but for those whose socket another datapath gets. */
export class LocalEndpoint {
  readonly key: string;
  readonly socket: DatagramSocket;
  readonly overUdp: boolean;
  /** Raw IPv4 sockets alone hand over the IP header. */
  readonly receivesIpHeader: boolean;
  readonly counters: EndpointCounters = createEndpointCounters();
  /** What its datagrams have taken of the loop; each session that they are for has a share. */
  readonly account = new Account();
  /** By session id as a signed 32-bit number, which the engine keeps without a box. */
  readonly sessions = new Map<number, SessionState>();
  /** The last session id that came and that nobody has here; 0: none yet. */
  lastUnknownSession = 0;
  /** The struct sockaddr that it came from. */
  readonly lastUnknownName = new Uint8Array(SOCKADDR_BYTES);
  /** When, by the loop's clock. */
  lastUnknownMs = -1;
  /** Tunnels on it, and who else holds it. */
  users = 0;

  constructor(key: string, tunnel: Tunnel, socket: DatagramSocket) {
    this.key = key;
    this.socket = socket;
    this.overUdp = tunnel.encapsulation === "UDP";
    this.receivesIpHeader = !this.overUdp && !tunnel.local.address.includes(":");
  }

  static keyOf({ encapsulation, local, remote, socketOwner }: Tunnel): string {
    const key = `${encapsulation} ${local.address} ${local.port}`;
    return socketOwner !== undefined ? `${key} ${remote.address} ${remote.port}` : key;
  }

  sessionOf(sessionId: number): SessionState | undefined {
    return this.sessions.get(sessionId | 0);
  }
}

/** A tunnel as the packet path uses it. */
export class TunnelState {
  config: Tunnel;
  endpoint: LocalEndpoint;
  /** The remote as a struct sockaddr, by 32-bit words. */
  remote: Uint32Array;
  readonly sessions = new Set<SessionState>();
  /** The largest datagrams that the kernel is asked to cut a message into; 0: none. */
  segmentLimit: number;
  /** Whether it has refused some since the tunnel was configured. */
  hasRefused = false;
  /** errno of the last datagram that did not go out; 0 when the last one did. */
  lastSendErrno = 0;
  /** The struct sockaddr of the last datagram that claimed one of our sessions from elsewhere. */
  readonly strangerName = new Uint8Array(SOCKADDR_BYTES);
  /** When, by the loop's clock; −1: none yet. */
  strangerMs = -1;

  constructor(config: Tunnel, endpoint: LocalEndpoint) {
    this.config = config;
    this.endpoint = endpoint;
    this.remote = sockaddrWords(config);
    this.segmentLimit = segmentLimit(config, endpoint);
  }

  configure(config: Tunnel, endpoint: LocalEndpoint): void {
    this.config = config;
    this.endpoint = endpoint;
    this.remote = sockaddrWords(config);
    this.segmentLimit = segmentLimit(config, endpoint);
    this.hasRefused = false;
  }
}

/** The kernel cuts nothing that goes without a checksum (udp_send_skb). */
function segmentLimit({ udpChecksum }: Tunnel, { socket }: LocalEndpoint): number {
  return socket.canSegment && udpChecksum ? MAX_DATAGRAM_BYTES : 0;
}

function sockaddrWords({ remote }: Tunnel): Uint32Array {
  return new Uint32Array(encodeSockaddr(remote).buffer);
}
