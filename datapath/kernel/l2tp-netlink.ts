/**
 * The kernel's L2TP over generic netlink (include/uapi/linux/l2tp.h, net/l2tp/l2tp_netlink.c): every command, and every
 * attribute that the kernel uses. Commands apply to one network namespace, in which IDs are unique. A session's device
 * may be in another namespace.
 */

import { Errno, isErrno, SystemError } from "../../linux/errno.ts";
import {
  findFamily,
  GENLMSGHDR_BYTES,
  type GenericFamily,
  genericHeader,
} from "../../linux/netlink/generic.ts";
import {
  type Message,
  MessageWriter,
  NetlinkAttributes,
  NLM_F_ACK,
} from "../../linux/netlink/message.ts";
import {
  NETLINK_GENERIC,
  type NetlinkError,
  NetlinkSocket,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  type Operation,
} from "../../linux/netlink/socket.ts";
import { formatAddress, parseAddress } from "../../net/ip.ts";

const GENL_VERSION = 1;

const CMD_TUNNEL_CREATE = 1;
const CMD_TUNNEL_DELETE = 2;
const CMD_TUNNEL_MODIFY = 3;
const CMD_TUNNEL_GET = 4;
const CMD_SESSION_CREATE = 5;
const CMD_SESSION_DELETE = 6;
const CMD_SESSION_MODIFY = 7;
const CMD_SESSION_GET = 8;

const PW_TYPE = 1;
const ENCAP_TYPE = 2;
const L2SPEC_TYPE = 5;
const PROTO_VERSION = 7;
const IFNAME = 8;
const CONN_ID = 9;
const PEER_CONN_ID = 10;
const SESSION_ID = 11;
const PEER_SESSION_ID = 12;
const UDP_CSUM = 13;
const COOKIE = 15;
const PEER_COOKIE = 16;
const RECV_SEQ = 18;
const SEND_SEQ = 19;
const LNS_MODE = 20;
const USING_IPSEC = 21;
const RECV_TIMEOUT = 22;
const FD = 23;
const IP_SADDR = 24;
const IP_DADDR = 25;
const UDP_SPORT = 26;
const UDP_DPORT = 27;
const STATS = 30;
const IP6_SADDR = 31;
const IP6_DADDR = 32;
const UDP_ZERO_CSUM6_TX = 33;
const UDP_ZERO_CSUM6_RX = 34;

const ENCAP_UDP = 0;
const ENCAP_IP = 1;
const L2SPEC_NONE = 0;
const L2SPEC_DEFAULT = 1;

/** L2TP_ATTR_STATS of a tunnel or session. Older kernels lack the last two. */
export interface L2tpStatistics {
  readonly txPackets: number;
  readonly txBytes: number;
  readonly txErrors: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly rxSeqDiscards: number;
  readonly rxOosPackets: number;
  readonly rxErrors: number;
  readonly rxCookieDiscards: number;
  readonly rxInvalid: number;
}

interface TunnelIds {
  readonly tunnelId: number;
  readonly peerTunnelId: number;
  /** 2 (RFC 2661) or 3. */
  readonly protocolVersion: number;
}

/** A static tunnel to create: the kernel creates its socket, bound and connected. */
export interface NewKernelTunnel extends TunnelIds {
  readonly encapsulation: "UDP" | "IP";
  readonly local: string;
  readonly remote: string;
  /** UDP only. 0: the kernel chooses a local port. */
  readonly localPort: number;
  readonly remotePort: number;
  /** False: datagrams are sent without a checksum, and over IPv6 also accepted without one. */
  readonly udpChecksum: boolean;
}

/** A managed tunnel to create: the caller binds and connects its socket, and keeps it open. */
export interface ManagedKernelTunnel extends TunnelIds {
  readonly encapsulation: "UDP" | "IP";
  /** A descriptor of this process. */
  readonly fd: number;
}

/**
 * A tunnel as the kernel reports it: all that it was created with, but not its creator. The addresses are empty if the
 * socket is closed.
 */
export interface KernelTunnel extends NewKernelTunnel {
  readonly usingIpsec: boolean;
  readonly statistics: L2tpStatistics;
}

interface SessionIds {
  readonly tunnelId: number;
  readonly sessionId: number;
}

/** The settings that can be changed on an existing session. */
export interface SessionSettings {
  readonly sendSequence: boolean;
  readonly receiveSequence: boolean;
  /** Maximum time to hold an out-of-order frame, in milliseconds; 0: no reordering. */
  readonly reorderTimeoutMs: number;
  /** False: sequence numbers are sent if the peer sends them (RFC 2661, 5.4). */
  readonly lnsMode: boolean;
}

export interface NewKernelSession extends SessionIds, SessionSettings {
  readonly peerSessionId: number;
  /** enum l2tp_pwtype (model/pseudowires/). */
  readonly pseudowireType: number;
  readonly l2SpecificSublayer: "Default" | "None";
  /** The cookie in sent data messages: 0 to 8 bytes in hexadecimal digits. */
  readonly txCookie: string;
  /** The cookie that received data messages must have. */
  readonly rxCookie: string;
  /** The name of its device, which is created in the socket's namespace; empty: the kernel chooses it. */
  readonly interface: string;
}

/**
 * A session as the kernel reports it: without the L2-Specific Sublayer and the device's namespace. `interface` is the
 * name with which the device was created, also after it was renamed.
 */
export interface KernelSession extends Omit<NewKernelSession, "l2SpecificSublayer"> {
  readonly peerTunnelId: number;
  readonly usingIpsec: boolean;
  readonly statistics: L2tpStatistics;
}

/** The kernel has no L2TP netlink family, or cannot load it. */
export class NoL2tpError extends SystemError {
  constructor() {
    super(Errno.EPROTONOSUPPORT, "find generic netlink family", "l2tp");
    this.name = "NoL2tpError";
  }
}

export class L2tpNetlink {
  readonly socket: NetlinkSocket;
  readonly #netns: string | null;
  readonly #family: GenericFamily;

  private constructor(netns: string | null, socket: NetlinkSocket, family: GenericFamily) {
    this.#netns = netns;
    this.socket = socket;
    this.#family = family;
  }

  /**
   * @param netns the path of the network namespace; null: the process's own
   * @throws NoL2tpError
   */
  static open(netns: string | null): L2tpNetlink {
    const socket = new NetlinkSocket(NETLINK_GENERIC, netns);
    try {
      const family = findFamily(socket, "l2tp");
      if (family === undefined) throw new NoL2tpError();
      return new L2tpNetlink(netns, socket, family);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  close(): void {
    this.socket.close();
  }

  /** Subscribes to changes of tunnels and sessions: of every namespace, and with their cookies. */
  joinNotifications(): void {
    const group = this.#family.groups.get("l2tp");
    if (group !== undefined) this.socket.join(group);
  }

  /**
   * Creates tunnels in one send.
   * @returns null or the error of each. EEXIST: the ID is in use, perhaps by a tunnel that is being deleted;
   * EADDRINUSE: the local port is in use; EADDRNOTAVAIL: the node does not have the address (yet); ENETUNREACH: no
   * route
   */
  createTunnels(
    tunnels: readonly (NewKernelTunnel | ManagedKernelTunnel)[],
  ): (NetlinkError | null)[] {
    return this.socket.pipeline(tunnels.map((tunnel) => this.#createTunnel(tunnel)));
  }

  /**
   * Deletes a tunnel and its sessions. Returns before the kernel has released them, their IDs and ports.
   * @throws NetlinkError ENODEV
   */
  deleteTunnel(tunnelId: number): void {
    this.socket.request(this.#onTunnel(CMD_TUNNEL_DELETE, "delete", tunnelId));
  }

  /** The kernel sends a notification, and changes nothing (l2tp_nl_cmd_tunnel_modify). */
  modifyTunnel(tunnelId: number): void {
    this.socket.request(this.#onTunnel(CMD_TUNNEL_MODIFY, "modify", tunnelId));
  }

  getTunnel(tunnelId: number): KernelTunnel | undefined {
    const found = this.socket.find(this.#onTunnel(CMD_TUNNEL_GET, "get", tunnelId), "ENODEV");
    return found === undefined ? undefined : parseTunnel(found);
  }

  listTunnels(): KernelTunnel[] {
    return this.socket.dump(() => this.#list(CMD_TUNNEL_GET, "list tunnels")).map(parseTunnel);
  }

  /**
   * Creates sessions in one send.
   * @returns null or the error of each. EEXIST: the ID or the device's name is in use; ENODEV: the tunnel does not
   * exist; EPROTONOSUPPORT: no module for the pseudowire type
   */
  createSessions(sessions: readonly NewKernelSession[]): (NetlinkError | null)[] {
    return this.socket.pipeline(sessions.map((session) => this.#createSession(session)));
  }

  /**
   * Resolves when the session and its device do not exist (any more). Runs on a thread of the pool, because the kernel
   * takes some 25 ms.
   */
  async deleteSession(ids: SessionIds): Promise<void> {
    const worker = new NetlinkSocket(NETLINK_GENERIC, this.#netns);
    try {
      await worker.requestInBackground(this.#onSession(CMD_SESSION_DELETE, "delete", ids));
    } catch (error) {
      if (!isErrno(error, "ENODEV")) throw error;
    } finally {
      worker.close();
    }
  }

  /** @throws NetlinkError ENODEV */
  modifySession(ids: SessionIds, settings: SessionSettings): void {
    const operation = this.#onSession(CMD_SESSION_MODIFY, "modify", ids);
    writeSettings(operation.message, settings);
    // A missing timeout means "none" in a creation, and "unchanged" in a change.
    if (settings.reorderTimeoutMs === 0) operation.message.u64(RECV_TIMEOUT, 0);
    this.socket.request(operation);
  }

  getSession(ids: SessionIds): KernelSession | undefined {
    const found = this.socket.find(this.#onSession(CMD_SESSION_GET, "get", ids), "ENODEV");
    return found === undefined ? undefined : parseSession(found);
  }

  listSessions(): KernelSession[] {
    return this.socket.dump(() => this.#list(CMD_SESSION_GET, "list sessions")).map(parseSession);
  }

  #message(command: number, flags = NLM_F_REQUEST | NLM_F_ACK): MessageWriter {
    return new MessageWriter(this.#family.id, flags, genericHeader(command, GENL_VERSION));
  }

  #list(command: number, name: string): Operation {
    return { name, message: this.#message(command, NLM_F_REQUEST | NLM_F_DUMP) };
  }

  #onTunnel(command: number, verb: string, tunnelId: number): Operation {
    const message = this.#message(command).u32(CONN_ID, tunnelId);
    return { name: `${verb} tunnel ${tunnelId}`, message };
  }

  #onSession(command: number, verb: string, { tunnelId, sessionId }: SessionIds): Operation {
    const message = this.#message(command).u32(CONN_ID, tunnelId).u32(SESSION_ID, sessionId);
    return { name: `${verb} session ${sessionId} of tunnel ${tunnelId}`, message };
  }

  #createTunnel(tunnel: NewKernelTunnel | ManagedKernelTunnel): Operation {
    const { name, message } = this.#onTunnel(CMD_TUNNEL_CREATE, "create", tunnel.tunnelId);
    message
      .u32(PEER_CONN_ID, tunnel.peerTunnelId)
      .u8(PROTO_VERSION, tunnel.protocolVersion)
      .u16(ENCAP_TYPE, tunnel.encapsulation === "UDP" ? ENCAP_UDP : ENCAP_IP);
    if ("fd" in tunnel) {
      message.u32(FD, tunnel.fd);
      return { name, message };
    }
    const [local, remote] = [addressBytes(tunnel.local), addressBytes(tunnel.remote)];
    const isIpv6 = local.length === 16;
    message
      .bytes(isIpv6 ? IP6_SADDR : IP_SADDR, local)
      .bytes(isIpv6 ? IP6_DADDR : IP_DADDR, remote);
    if (tunnel.encapsulation === "IP") return { name, message };
    message.u16(UDP_SPORT, tunnel.localPort).u16(UDP_DPORT, tunnel.remotePort);
    // The kernel checks the presence of the attribute (nla_get_flag), not its value.
    if (tunnel.udpChecksum) message.u8(UDP_CSUM, 1);
    else if (isIpv6) message.flag(UDP_ZERO_CSUM6_TX).flag(UDP_ZERO_CSUM6_RX);
    return { name, message };
  }

  #createSession(session: NewKernelSession): Operation {
    const { name, message } = this.#onSession(CMD_SESSION_CREATE, "create", session);
    const hasSublayer = session.l2SpecificSublayer === "Default";
    message
      .u32(PEER_SESSION_ID, session.peerSessionId)
      .u16(PW_TYPE, session.pseudowireType)
      .u8(L2SPEC_TYPE, hasSublayer ? L2SPEC_DEFAULT : L2SPEC_NONE);
    if (session.interface !== "") message.string(IFNAME, session.interface);
    if (session.txCookie !== "") message.bytes(COOKIE, Buffer.from(session.txCookie, "hex"));
    if (session.rxCookie !== "") message.bytes(PEER_COOKIE, Buffer.from(session.rxCookie, "hex"));
    writeSettings(message, session);
    return { name, message };
  }
}

function writeSettings(message: MessageWriter, settings: SessionSettings): void {
  message
    .u8(SEND_SEQ, Number(settings.sendSequence))
    .u8(RECV_SEQ, Number(settings.receiveSequence))
    .u8(LNS_MODE, Number(settings.lnsMode));
  if (settings.reorderTimeoutMs > 0) message.u64(RECV_TIMEOUT, settings.reorderTimeoutMs);
}

function addressBytes(text: string): Uint8Array {
  const bytes = parseAddress(text);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(text)} is not an IP address`);
  return bytes;
}

function parseTunnel({ payload }: Message): KernelTunnel {
  const attributes = new NetlinkAttributes(payload, GENLMSGHDR_BYTES);
  const overUdp = attributes.u16(ENCAP_TYPE) === ENCAP_UDP;
  const address = (ipv4: number, ipv6: number) => {
    const bytes = attributes.bytes(ipv4) ?? attributes.bytes(ipv6);
    return bytes === undefined ? "" : formatAddress(bytes);
  };
  const isIpv6 = attributes.has(IP6_SADDR);
  return {
    tunnelId: attributes.u32(CONN_ID) ?? 0,
    peerTunnelId: attributes.u32(PEER_CONN_ID) ?? 0,
    protocolVersion: attributes.u8(PROTO_VERSION) ?? 0,
    encapsulation: overUdp ? "UDP" : "IP",
    local: address(IP_SADDR, IP6_SADDR),
    remote: address(IP_DADDR, IP6_DADDR),
    localPort: overUdp ? (attributes.u16(UDP_SPORT) ?? 0) : 0,
    remotePort: overUdp ? (attributes.u16(UDP_DPORT) ?? 0) : 0,
    udpChecksum: isIpv6
      ? !attributes.has(UDP_ZERO_CSUM6_TX)
      : (attributes.u8(UDP_CSUM) ?? Number(!overUdp)) !== 0,
    usingIpsec: (attributes.u8(USING_IPSEC) ?? 0) !== 0,
    statistics: parseStatistics(attributes),
  };
}

function parseSession({ payload }: Message): KernelSession {
  const attributes = new NetlinkAttributes(payload, GENLMSGHDR_BYTES);
  const isOn = (type: number) => (attributes.u8(type) ?? 0) !== 0;
  const hex = (type: number) => attributes.bytes(type)?.toString("hex") ?? "";
  return {
    tunnelId: attributes.u32(CONN_ID) ?? 0,
    peerTunnelId: attributes.u32(PEER_CONN_ID) ?? 0,
    sessionId: attributes.u32(SESSION_ID) ?? 0,
    peerSessionId: attributes.u32(PEER_SESSION_ID) ?? 0,
    pseudowireType: attributes.u16(PW_TYPE) ?? 0,
    interface: attributes.string(IFNAME) ?? "",
    txCookie: hex(COOKIE),
    rxCookie: hex(PEER_COOKIE),
    sendSequence: isOn(SEND_SEQ),
    receiveSequence: isOn(RECV_SEQ),
    lnsMode: isOn(LNS_MODE),
    usingIpsec: isOn(USING_IPSEC),
    reorderTimeoutMs: attributes.u64(RECV_TIMEOUT) ?? 0,
    statistics: parseStatistics(attributes),
  };
}

function parseStatistics(attributes: NetlinkAttributes): L2tpStatistics {
  const nested = attributes.nested(STATS);
  const at = (type: number) => nested?.u64(type) ?? 0;
  return {
    txPackets: at(1),
    txBytes: at(2),
    txErrors: at(3),
    rxPackets: at(4),
    rxBytes: at(5),
    rxSeqDiscards: at(6),
    rxOosPackets: at(7),
    rxErrors: at(8),
    rxCookieDiscards: at(10),
    rxInvalid: at(11),
  };
}
