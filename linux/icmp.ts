/** ICMP errors that come to the node: a bounded look by raw sockets (raw(7), RFC 792, RFC 4443). */
import { formatAddress } from "../net/ip.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const ICMP6_FILTER = 1;
/** 256 bits, one a type: it is blocked. */
const ICMP6_FILTER_BYTES = 32;

const V4 = { unreachable: 3 } as const;
const V6 = { unreachable: 1, parameterProblem: 4 } as const;
const ICMP_HEADER_BYTES = 8;
const IPV6_HEADER_BYTES = 40;
const PORT_BYTES = 4;
/** An error holds little of the packet that it is about. */
const BUFFER_BYTES = 2048;
const MAX_ERRORS = 1024;

export type Unreachable = "port" | "protocol" | "host" | "network" | "prohibited";

/** The key is the code (RFC 792; RFC 1812, section 5.2.7.1). "Fragmentation needed" is not among them: the packet is too large. */
const V4_CODES: Readonly<Record<number, Unreachable>> = {
  0: "network",
  1: "host",
  2: "protocol",
  3: "port",
  9: "prohibited",
  10: "prohibited",
  13: "prohibited",
};
/** The key is the code (RFC 4443, section 3.1). */
const V6_CODES: Readonly<Record<number, Unreachable>> = {
  0: "network",
  1: "prohibited",
  3: "host",
  4: "port",
  5: "prohibited",
  6: "prohibited",
};
/** The code of a parameter problem (RFC 4443, section 3.4): the next header is not known. */
const UNKNOWN_NEXT_HEADER = 1;

/** An error, and the packet of ours that it answers. */
export interface IcmpError {
  readonly what: Unreachable;
  readonly source: string;
  readonly destination: string;
  /** The IP protocol. */
  readonly protocol: number;
  /** The first two words behind the IP header: ports, where the protocol has some. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/**
 * The ICMP errors that have come since it was made, as many as a socket's buffer holds. Those of an IP version for which
 * the process can open no raw socket (EPERM, EAFNOSUPPORT) are left out.
 */
export class IcmpErrors {
  readonly #sockets = [
    { fd: openRaw(AF_INET, IPPROTO_ICMP, SOL_RAW, ICMP_FILTER, v4Filter()), parse: parseIcmpError },
    {
      fd: openRaw(AF_INET6, IPPROTO_ICMPV6, IPPROTO_ICMPV6, ICMP6_FILTER, v6Filter()),
      parse: parseIcmpv6Error,
    },
  ].filter(({ fd }) => fd >= 0);

  /** Takes what has come. */
  read(): IcmpError[] {
    const buffer = Buffer.alloc(BUFFER_BYTES);
    return this.#sockets.flatMap(({ fd, parse }) => {
      const errors: IcmpError[] = [];
      for (let count = 0; count < MAX_ERRORS; count++) {
        const bytes = c.recv(fd, buffer, buffer.length, MSG_DONTWAIT);
        if (bytes < 0) break;
        const error = parse(buffer.subarray(0, bytes));
        if (error !== undefined) errors.push(error);
      }
      return errors;
    });
  }

  close(): void {
    for (const { fd } of this.#sockets) closeFd(fd);
  }
}

/** @returns −1 where it cannot be opened */
function openRaw(
  family: number,
  protocol: number,
  level: number,
  option: number,
  filter: Buffer,
): number {
  const fd = c.socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0 || c.setsockopt(fd, level, option, filter, filter.length) === 0) return fd;
  closeFd(fd);
  return -1;
}

function v4Filter(): Buffer {
  const blocked = Buffer.alloc(4);
  blocked.writeUInt32LE(~(1 << V4.unreachable) >>> 0);
  return blocked;
}

function v6Filter(): Buffer {
  const blocked = Buffer.alloc(ICMP6_FILTER_BYTES, 0xff);
  const passed = (1 << V6.unreachable) | (1 << V6.parameterProblem);
  blocked.writeUInt32LE(~passed >>> 0);
  return blocked;
}

/** @param message as a raw socket of IPv4 has it, with its IP header */
export function parseIcmpError(message: Uint8Array): IcmpError | undefined {
  const outer = ((message[0] ?? 0) & 0xf) * 4;
  const what = V4_CODES[message[outer + 1] ?? -1];
  if (message[outer] !== V4.unreachable || what === undefined) return undefined;
  const inner = message.subarray(outer + ICMP_HEADER_BYTES);
  const headerBytes = ((inner[0] ?? 0) & 0xf) * 4;
  const [source, destination] = [inner.slice(12, 16), inner.slice(16, 20)];
  return aboutPacket(what, source, destination, inner[9], inner.subarray(headerBytes));
}

/** @param message as a raw socket of IPv6 has it, without its IP header */
export function parseIcmpv6Error(message: Uint8Array): IcmpError | undefined {
  const [type, code = 0] = message;
  const isUnknown = type === V6.parameterProblem && code === UNKNOWN_NEXT_HEADER;
  const what = isUnknown ? "protocol" : type === V6.unreachable ? V6_CODES[code] : undefined;
  if (what === undefined) return undefined;
  const inner = message.subarray(ICMP_HEADER_BYTES);
  const [source, destination] = [inner.slice(8, 24), inner.slice(24, IPV6_HEADER_BYTES)];
  return aboutPacket(what, source, destination, inner[6], inner.subarray(IPV6_HEADER_BYTES));
}

function aboutPacket(
  what: Unreachable,
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number | undefined,
  payload: Uint8Array,
): IcmpError | undefined {
  if (protocol === undefined || payload.length < PORT_BYTES) return undefined;
  const ports = new DataView(payload.buffer, payload.byteOffset, PORT_BYTES);
  return {
    what,
    source: formatAddress(source),
    destination: formatAddress(destination),
    protocol,
    sourcePort: ports.getUint16(0),
    destinationPort: ports.getUint16(2),
  };
}
