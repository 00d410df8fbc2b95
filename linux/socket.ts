/** Datagram sockets: UDP, and raw sockets of an IP protocol (ip(7), ipv6(7), udp(7), raw(7)). */
import { formatAddress, parseAddress } from "../net/ip.ts";
import { checked } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
export const SOL_IP = 0;
export const IP_TOS = 1;
const IP_RECVTOS = 13;
const IPV6_RECVTCLASS = 66;
export const IPV6_TCLASS = 67;
export const SOL_UDP = 17;
export const SOL_IPV6 = 41;
export const IPV6_PKTINFO = 50;
const SO_NO_CHECK = 11;
const SO_REUSEPORT = 15;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_BINDTOIFINDEX = 62;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
/** Fragment large datagrams, as the kernel's tunnels do: never set "don't fragment". */
const PMTUDISC_DONT = 0;
const IPV6_V6ONLY = 26;
export const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const UDP_NO_CHECK6_TX = 101;
const UDP_NO_CHECK6_RX = 102;
/**
 * Some fifty messages of 64 KiB, with the kernel's overhead. With a smaller buffer, TCP through the tunnel loses
 * segments. With a larger one, queued data is out of the processor's cache when it is read.
 */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

/** sockaddr_in6 is the larger of the two. */
export const SOCKADDR_BYTES = 28;

export interface SocketAddress {
  /** IPv4 or IPv6 in text form. */
  readonly address: string;
  /** 0 if the protocol has no ports. */
  readonly port: number;
}

/** Returns a struct sockaddr_in or sockaddr_in6. @throws TypeError if the address is not an IP address */
export function encodeSockaddr({ address, port }: SocketAddress): Uint8Array<ArrayBuffer> {
  const bytes = parseAddress(address);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(address)} is not an IP address`);
  const isIpv4 = bytes.length === 4;
  const sockaddr = new Uint8Array(isIpv4 ? 16 : SOCKADDR_BYTES);
  const view = new DataView(sockaddr.buffer);
  view.setUint16(0, isIpv4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  sockaddr.set(bytes, isIpv4 ? 4 : 8);
  return sockaddr;
}

/** Decodes a struct sockaddr_in or sockaddr_in6. */
export function decodeSockaddr(sockaddr: Uint8Array): SocketAddress {
  const view = new DataView(sockaddr.buffer, sockaddr.byteOffset, sockaddr.byteLength);
  const isIpv4 = view.getUint16(0, true) === AF_INET;
  return {
    address: formatAddress(isIpv4 ? sockaddr.slice(4, 8) : sockaddr.slice(8, 24)),
    port: view.getUint16(2),
  };
}

const optionValue = Buffer.alloc(4);

function setOption(fd: number, level: number, option: number, value: number, name: string): void {
  optionValue.writeInt32LE(value);
  checked(c.setsockopt(fd, level, option, optionValue, optionValue.length), "setsockopt", name);
}

function trySetOption(fd: number, level: number, option: number, value: number): boolean {
  optionValue.writeInt32LE(value);
  return c.setsockopt(fd, level, option, optionValue, optionValue.length) === 0;
}

/** Allows several sockets with one address and port (socket(7)). */
export function sharePort(fd: number): void {
  setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
}

/**
 * Binds a socket to a device (Linux 5.0). The socket then uses the routes and addresses of the device's VRF, and the
 * link-local addresses of the device's link.
 */
export function bindToDevice(fd: number, index: number): void {
  setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, index, "SO_BINDTOIFINDEX");
}

/**
 * Opens a nonblocking, unconnected datagram socket, bound to `local`.
 * @param rawProtocol the IP protocol of a raw socket; null: UDP
 * @param prepare is called with the socket before it is bound
 * @returns the descriptor
 * @throws SystemError EADDRNOTAVAIL if the node does not have the address, EADDRINUSE
 */
export function openDatagramSocket(
  rawProtocol: number | null,
  local: SocketAddress,
  prepare: (fd: number) => void = () => {},
): number {
  const sockaddr = encodeSockaddr(local);
  const isIpv4 = sockaddr.length === 16;
  const type = rawProtocol === null ? SOCK_DGRAM : SOCK_RAW;
  const fd = checked(
    c.socket(isIpv4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, rawProtocol ?? 0),
    "socket",
    rawProtocol === null ? "UDP" : "IP",
  );
  try {
    if (!isIpv4 && type === SOCK_DGRAM) setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
    setCommonOptions(fd, isIpv4);
    prepare(fd);
    const where = `${local.address} port ${local.port}`;
    checked(c.bind(fd, sockaddr, sockaddr.length), "bind", where);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function setCommonOptions(fd: number, isIpv4: boolean): void {
  if (isIpv4) setOption(fd, SOL_IP, IP_MTU_DISCOVER, PMTUDISC_DONT, "IP_MTU_DISCOVER");
  else setOption(fd, SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT, "IPV6_MTU_DISCOVER");
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER_BYTES, "SO_RCVBUFFORCE");
  setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_BYTES, "SO_SNDBUFFORCE");
}

/**
 * Opens a nonblocking socket of a datagram protocol that the kernel implements on top of IP.
 * @param local the address to bind to: a struct sockaddr of the protocol, which begins like one of IPv4 or IPv6
 * @param remote the address to connect to, likewise; null: unconnected, receives from all
 * @param where the name of both addresses in errors
 * @returns the descriptor
 * @throws SystemError EADDRNOTAVAIL if the node does not have the address, EADDRINUSE, EPROTONOSUPPORT, ENETUNREACH
 */
export function openProtocolSocket(
  protocol: number,
  local: Uint8Array,
  remote: Uint8Array | null,
  where: string,
): number {
  const isIpv4 = local[0] === AF_INET;
  const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const family = isIpv4 ? AF_INET : AF_INET6;
  const fd = checked(c.socket(family, type, protocol), "socket", `protocol ${protocol}`);
  try {
    setCommonOptions(fd, isIpv4);
    checked(c.bind(fd, local, local.length), "bind", where);
    if (remote !== null) checked(c.connect(fd, remote, remote.length), "connect", where);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * Opens a connected UDP socket, which receives only from the remote. All sockets of a port must be opened by this
 * function and by one user: the kernel enforces it with SO_REUSEPORT, unlike with SO_REUSEADDR.
 * @param device the index of the device to bind the socket to
 * @returns the descriptor
 * @throws SystemError as `openDatagramSocket`, and ENETUNREACH if there is no route
 */
export function openConnectedSocket(
  local: SocketAddress,
  remote: SocketAddress,
  device?: number,
): number {
  const fd = openDatagramSocket(null, local, (socket) => {
    sharePort(socket);
    if (device !== undefined) bindToDevice(socket, device);
  });
  try {
    const sockaddr = encodeSockaddr(remote);
    const where = `${remote.address} port ${remote.port}`;
    checked(c.connect(fd, sockaddr, sockaddr.length), "connect", where);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** Sends one datagram to a struct sockaddr. False: it was not sent. */
export function sendTo(fd: number, datagram: Uint8Array, sockaddr: Uint8Array): boolean {
  const { length } = datagram;
  return c.sendto(fd, datagram, length, MSG_DONTWAIT, sockaddr, sockaddr.length) === length;
}

/** Sends one datagram by a connected socket. False: it was not sent. */
export function sendConnected(fd: number, datagram: Uint8Array): boolean {
  const { length } = datagram;
  return c.sendto(fd, datagram, length, MSG_DONTWAIT, null, 0) === length;
}

const senderBytes = Buffer.alloc(4);

/**
 * Receives one datagram.
 * @param sender is filled with the sender's struct sockaddr
 * @returns the datagram's bytes, even if they exceed `into`; −1: no datagram, or an error
 */
export function receiveFrom(fd: number, into: Uint8Array, sender: Uint8Array): number {
  senderBytes.writeInt32LE(sender.length);
  const flags = MSG_DONTWAIT | MSG_TRUNC;
  return c.recvfrom(fd, into, into.length, flags, sender, senderBytes);
}

/** True if the kernel can segment messages of the UDP socket into datagrams (Linux 4.18). */
export function canSegment(fd: number): boolean {
  return trySetOption(fd, SOL_UDP, UDP_SEGMENT, 0);
}

/** Receives the datagrams of one flow in one message, if the kernel supports it (Linux 5.0). */
export function joinReceived(fd: number): void {
  trySetOption(fd, SOL_UDP, UDP_GRO, 1);
}

/**
 * Requires that the kernel implements a datagram protocol on top of IP.
 * @param name the protocol's name in the error
 * @throws SystemError if the kernel does not have the protocol
 */
export function requireDatagramProtocol(family: number, protocol: number, name: string): void {
  closeFd(checked(c.socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol), "socket", name));
}

/** Sets whether a UDP socket sends datagrams with a checksum. */
export function setTransmitChecksum(fd: number, family: number, on: boolean): void {
  if (family === AF_INET) setOption(fd, SOL_SOCKET, SO_NO_CHECK, on ? 0 : 1, "SO_NO_CHECK");
  else setOption(fd, SOL_UDP, UDP_NO_CHECK6_TX, on ? 0 : 1, "UDP_NO_CHECK6_TX");
}

/** Sets the traffic class (IPv4: type of service) of the socket's packets: six bits of DSCP, two bits of ECN. */
export function setTrafficClass(fd: number, family: number, value: number): void {
  if (family === AF_INET) setOption(fd, SOL_IP, IP_TOS, value, "IP_TOS");
  else setOption(fd, SOL_IPV6, IPV6_TCLASS, value, "IPV6_TCLASS");
}

/** Makes the kernel report the traffic class of each received packet (IP_TOS or IPV6_TCLASS in a control message). */
export function reportTrafficClass(fd: number, family: number): void {
  if (family === AF_INET) setOption(fd, SOL_IP, IP_RECVTOS, 1, "IP_RECVTOS");
  else setOption(fd, SOL_IPV6, IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS");
}

/** Sets whether an IPv6 UDP socket accepts datagrams without a checksum (RFC 6935). IPv4 sockets always do. */
export function setReceiveZeroChecksum(fd: number, allowed: boolean): void {
  setOption(fd, SOL_UDP, UDP_NO_CHECK6_RX, allowed ? 1 : 0, "UDP_NO_CHECK6_RX");
}
