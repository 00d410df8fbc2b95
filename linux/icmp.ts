/** Receives the node's ICMP errors through raw sockets, up to a limit (raw(7), RFC 792, RFC 4443). */
import { formatAddress } from "../net/ip.ts";
import { SystemError } from "./errno.ts";
import { closeFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { openIcmpSocket } from "./icmp-socket.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

const MSG_DONTWAIT = 0x40;

const V4 = { unreachable: 3 } as const;
const V6 = { unreachable: 1, parameterProblem: 4 } as const;
const ICMP_HEADER_BYTES = 8;
const IPV6_HEADER_BYTES = 40;
const PORT_BYTES = 4;
/** An error contains only the beginning of the packet that caused it. */
const BUFFER_BYTES = 2048;
const MAX_ERRORS = 1024;

export type Unreachable = "port" | "protocol" | "host" | "network" | "prohibited";

/**
 * By code (RFC 792; RFC 1812, section 5.2.7.1), without "fragmentation needed", which means a small path MTU.
 */
const V4_CODES: Readonly<Record<number, Unreachable>> = {
  0: "network",
  1: "host",
  2: "protocol",
  3: "port",
  9: "prohibited",
  10: "prohibited",
  13: "prohibited",
};
/** Keyed by code (RFC 4443, section 3.1). */
const V6_CODES: Readonly<Record<number, Unreachable>> = {
  0: "network",
  1: "prohibited",
  3: "host",
  4: "port",
  5: "prohibited",
  6: "prohibited",
};
/** The code of a parameter problem (RFC 4443, section 3.4): unknown next header. */
const UNKNOWN_NEXT_HEADER = 1;

/** An error, and the packet that caused it. */
export interface IcmpError {
  readonly what: Unreachable;
  readonly source: string;
  readonly destination: string;
  /** The IP protocol. */
  readonly protocol: number;
  /** The first two 16-bit words after the IP header: the ports, if the protocol has ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/**
 * Collects ICMP errors since its creation, as many as a socket's buffer holds. It omits an IP version for which the
 * process cannot open a raw socket (EPERM, EAFNOSUPPORT).
 */
export class IcmpErrors {
  readonly #sockets = [
    ...listen(() => openIcmpSocket(AF_INET, Object.values(V4)), parseIcmpError),
    ...listen(() => openIcmpSocket(AF_INET6, Object.values(V6)), parseIcmpv6Error),
  ];

  /** Returns the errors received since the last call. */
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

/** Returns a list with the socket; empty if it cannot be opened. */
function listen<P>(open: () => number, parse: P): { readonly fd: number; readonly parse: P }[] {
  try {
    return [{ fd: open(), parse }];
  } catch (error) {
    if (error instanceof SystemError) return [];
    throw error;
  }
}

/** @param message from a raw IPv4 socket, with its IP header */
export function parseIcmpError(message: Uint8Array): IcmpError | undefined {
  const outer = ((message[0] ?? 0) & 0xf) * 4;
  const what = V4_CODES[message[outer + 1] ?? -1];
  if (message[outer] !== V4.unreachable || what === undefined) return undefined;
  const inner = message.subarray(outer + ICMP_HEADER_BYTES);
  const headerBytes = ((inner[0] ?? 0) & 0xf) * 4;
  const [source, destination] = [inner.slice(12, 16), inner.slice(16, 20)];
  return aboutPacket(what, source, destination, inner[9], inner.subarray(headerBytes));
}

/** @param message from a raw IPv6 socket, without its IP header */
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
