/** A peer that sends given datagrams, and receives nothing. */
import {
  cookieWords,
  encodeDataHeader,
  type L2SpecificSublayer,
  MAX_HEADER_BYTES,
} from "../../l2tp/codec.ts";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import {
  AF_INET,
  AF_INET6,
  encodeSockaddr,
  openDatagramSocket,
  type SocketAddress,
  sendTo,
  setTrafficClass,
} from "../../linux/socket.ts";
import type { Encapsulation } from "../../model/model.ts";
import { IP_PROTOCOL } from "../../net/ip-packet.ts";

export interface DataMessage {
  readonly sessionId: number;
  /** Hexadecimal digits. */
  readonly cookie: string;
  readonly sublayer: L2SpecificSublayer;
  readonly frame: Uint8Array;
}

export class WirePeer {
  readonly #encapsulation: Encapsulation;
  readonly #to: SocketAddress;
  readonly #fd: number;

  /**
   * @param netns the path of its namespace
   * @param trafficClass of the packets: DSCP and ECN
   */
  constructor(
    netns: string,
    encapsulation: Encapsulation,
    from: SocketAddress,
    to: SocketAddress,
    trafficClass = 0,
  ) {
    this.#encapsulation = encapsulation;
    this.#to = to;
    const raw = encapsulation === "UDP" ? null : IP_PROTOCOL.l2tp;
    this.#fd = inNetns(netns, () => openDatagramSocket(raw, from));
    const family = from.address.includes(":") ? AF_INET6 : AF_INET;
    if (trafficClass !== 0) setTrafficClass(this.#fd, family, trafficClass);
  }

  send(octets: Uint8Array): void {
    sendTo(this.#fd, octets, encodeSockaddr(this.#to));
  }

  sendData({ sessionId, cookie, sublayer, frame }: DataMessage): void {
    const octets = new Uint8Array(MAX_HEADER_BYTES + frame.length);
    const header = encodeDataHeader(new DataView(octets.buffer), 0, {
      overUdp: this.#encapsulation === "UDP",
      sessionId,
      ...cookieWords(cookie),
      sublayer: sublayer === "Default",
      sequencing: false,
      sequence: 0,
    });
    octets.set(frame, header);
    this.send(octets.subarray(0, header + frame.length));
  }

  close(): void {
    closeFd(this.#fd);
  }
}

/** A broadcast frame that no stack answers: an ARP packet of an unknown kind. */
export function quietFrame(bytes: number): Buffer {
  const frame = Buffer.alloc(bytes);
  frame.write("ffffffffffff0200000000020806", "hex");
  return frame;
}
