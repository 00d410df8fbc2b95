/**
 * Sends control messages with a peer's source address: `node control-flood.ts JSON`, a FloodOptions.
 * Uses a raw socket for UDP, since the peer itself may have the port. Writes "flooding" after the first
 * messages, and exits by itself.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type Body, encodeBody, encodeMessage } from "../../l2tp/control/message.ts";
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { AF_INET, AF_INET6, encodeSockaddr, type SocketAddress } from "../../linux/socket.ts";
import type { Encapsulation } from "../../model/model.ts";

export type Flood =
  /** SCCRQs, each different, with Host Names that no peer has. */
  | "requests"
  /** SCCRQs, each different, with the peer's Host Name. */
  | "imitations"
  /** The same SCCRQ repeatedly. */
  | "one request"
  /** HELLOs of an existing connection, with random sequence numbers. */
  | "any number"
  /** HELLOs of an existing connection, with the next sequence numbers and a wrong digest. */
  | "next numbers"
  /** Messages with an unknown ID, without a type, or too short. */
  | "garbage"
  /** All of them in turn. */
  | "all";

export interface FloodOptions {
  readonly flood: Flood;
  readonly encapsulation: Encapsulation;
  readonly from: SocketAddress;
  readonly to: SocketAddress;
  readonly perSecond: number;
  readonly seconds: number;
  /** The ID of an existing connection. */
  readonly connectionId: number;
  /** The next Ns of that connection. */
  readonly ns: number;
  /** The peer's Host Name. */
  readonly hostName: string;
}

const SOCK_RAW = 3;
const PROTOCOL = { UDP: 17, IP: 115 } as const;
const IPPROTO_IPV6 = 41;
const IPV6_CHECKSUM = 7;
const UDP_HEADER_BYTES = 8;
const CHECKSUM_AT = 6;
const ZERO_SESSION_ID_BYTES = 4;
const NS_AT = 8;
/** Marks a place for a number of four octets. */
const MARK = 0xa55a_a55a;
const MARK_OCTETS = Buffer.from("a55aa55a", "hex");

/** A message, and the offsets at which each copy has its own number. */
interface Template {
  readonly octets: Buffer;
  readonly marks: readonly number[];
  /** The first Ns, and how many values are used in turn; null: Ns is always 0. */
  readonly ns: readonly [first: number, count: number] | null;
}

function template(connectionId: number, body: Body, ns: Template["ns"] = null): Template {
  const header = { connectionId, ns: 0, nr: 0 };
  const { octets } = encodeMessage(header, encodeBody(body), ns === null ? [] : ["md5"]);
  const bytes = Buffer.from(octets);
  const marks: number[] = [];
  for (let at = bytes.indexOf(MARK_OCTETS); at >= 0; at = bytes.indexOf(MARK_OCTETS, at + 4)) {
    marks.push(at);
  }
  return { octets: bytes, marks, ns };
}

function request(hostName: string, id: number): Template {
  return template(0, {
    type: "SCCRQ",
    attributes: {
      hostName,
      routerId: 1,
      assignedConnectionId: id,
      receiveWindowSize: 8,
      pseudowireCapabilities: [4, 5],
      // The lowest tie breaker wins.
      tieBreaker: "00000000a55aa55a",
    },
  });
}

function templates({ flood, connectionId, ns, hostName }: FloodOptions): Template[] {
  const hello: Body = { type: "HELLO", attributes: {} };
  const numbered: Body = { type: "HELLO", attributes: { routerId: MARK } };
  const fixed = (octets: Uint8Array): Template => ({
    octets: Buffer.from(octets),
    marks: [],
    ns: null,
  });
  const all: Record<Exclude<Flood, "all">, Template[]> = {
    requests: [request("other-peer", MARK)],
    imitations: [request(hostName, MARK)],
    "one request": [fixed(request("other-peer", 77).octets)],
    "any number": [template(connectionId, hello, [0, 0x1_0000])],
    "next numbers": [template(connectionId, numbered, [ns, 16])],
    garbage: [
      template(MARK, hello),
      template(0, hello),
      fixed(Buffer.from("c803000c0000000000000000", "hex")),
      fixed(Buffer.from("c8030004", "hex")),
    ],
  };
  return flood === "all" ? Object.values(all).flat() : all[flood];
}

class Sender {
  readonly #fd: number;
  readonly #to: Uint8Array;
  readonly #overUdp: boolean;
  readonly #head: Buffer;

  constructor({ encapsulation, from, to }: FloodOptions) {
    const family = to.address.includes(":") ? AF_INET6 : AF_INET;
    this.#overUdp = encapsulation === "UDP";
    this.#fd = checked(c.socket(family, SOCK_RAW, PROTOCOL[encapsulation]), "socket");
    const local = encodeSockaddr({ ...from, port: 0 });
    checked(c.bind(this.#fd, local, local.length), "bind");
    this.#to = encodeSockaddr({ ...to, port: 0 });
    this.#head = Buffer.alloc(this.#overUdp ? UDP_HEADER_BYTES : ZERO_SESSION_ID_BYTES);
    if (!this.#overUdp) return;
    this.#head.writeUInt16BE(from.port, 0);
    this.#head.writeUInt16BE(to.port, 2);
    if (family === AF_INET) return;
    const option = Buffer.alloc(4);
    option.writeInt32LE(CHECKSUM_AT);
    checked(c.setsockopt(this.#fd, IPPROTO_IPV6, IPV6_CHECKSUM, option, 4), "IPV6_CHECKSUM");
  }

  /** @param turn how many messages of the template were sent before */
  send({ octets, marks, ns }: Template, turn: number): void {
    for (const at of marks) octets.writeUInt32BE((turn + 1) >>> 0, at);
    if (ns !== null) octets.writeUInt16BE((ns[0] + (turn % ns[1])) & 0xffff, NS_AT);
    if (this.#overUdp) this.#head.writeUInt16BE(UDP_HEADER_BYTES + octets.length, 4);
    const datagram = Buffer.concat([this.#head, octets]);
    try {
      checked(c.sendto(this.#fd, datagram, datagram.length, 0, this.#to, this.#to.length), "send");
    } catch (error) {
      // The flood goes on if a queue is full or a port is closed.
      if (!isErrno(error, "ENOBUFS", "EAGAIN", "ECONNREFUSED", "EPERM")) throw error;
    }
  }
}

const options = JSON.parse(process.argv[2] ?? "") as FloodOptions;
const sender = new Sender(options);
const kinds = templates(options);
/** A random start, so that messages do not repeat those of an earlier flood. */
const first = Math.floor(Math.random() * 2 ** 31);
const began = performance.now();
console.log("flooding");
for (let sent = 0; ; ) {
  const elapsed = (performance.now() - began) / 1000;
  if (elapsed >= options.seconds) break;
  // A delayed sender catches up for a moment only.
  const due = Math.floor(elapsed * options.perSecond);
  sent = Math.max(sent, due - options.perSecond / 10);
  for (; sent < due; sent++) {
    sender.send(kinds[sent % kinds.length] as Template, first + Math.floor(sent / kinds.length));
  }
  await pause(1);
}
