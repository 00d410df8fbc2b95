/** The packet sockets of a trace: separate ones for control messages and frames, so that frames displace no message. */
import { type CapturedIpPacket, PacketCapture } from "../../../linux/packet-capture.ts";
import type { PayloadWord } from "../../../linux/packet-filter.ts";
import type { Endpoint, Tunnel } from "../../../model/model.ts";
import { UDP_HEADER_BYTES } from "../../../net/headers.ts";
import { IP_PROTOCOL } from "../../../net/ip-packet.ts";

/** Whole packets: the kernel joins datagrams, and each has a header. */
const SNAP_BYTES = 64 * 1024;
/** About four hundred packets of 1,500 bytes with the kernel's overhead. */
const BUFFER_BYTES = 1024 * 1024;

/** The T bit of the first word over UDP. */
const CONTROL_OVER_UDP = { at: UDP_HEADER_BYTES, mask: 0x8000_0000, value: 0x8000_0000 } as const;
/** Over IP, session ID 0. */
const CONTROL_OVER_IP = { at: 0, mask: 0xffff_ffff, value: 0 } as const;

export class TunnelCaptures {
  readonly #takesControl: boolean;
  /** The key is the text of the filter. */
  #open = new Map<string, PacketCapture>();
  /** Packets that captures dropped before they were closed. */
  #droppedBefore = 0;

  constructor(takes: "control" | "data") {
    this.#takesControl = takes === "control";
  }

  /** Captures packets between the tunnel's local address and its remotes from now on. @throws SystemError */
  follow(tunnel: Tunnel): void {
    const open = new Map<string, PacketCapture>();
    for (const remote of [tunnel.remote, ...(tunnel.control?.backups ?? [])]) {
      const key = JSON.stringify([tunnel.encapsulation, tunnel.local, remote]);
      open.set(key, this.#open.get(key) ?? this.#capture(tunnel, remote));
      this.#open.delete(key);
    }
    this.close();
    this.#open = open;
  }

  /** Returns the oldest packets, at most `max` for each remote. */
  read(max: number): CapturedIpPacket[] {
    return [...this.#open.values()].flatMap((capture) => capture.read(max));
  }

  /** The number of packets dropped because a buffer was full. */
  get dropped(): number {
    const now = [...this.#open.values()].reduce((sum, { dropped }) => sum + dropped, 0);
    return this.#droppedBefore + now;
  }

  close(): void {
    this.#droppedBefore = this.dropped;
    for (const capture of this.#open.values()) capture.close();
    this.#open.clear();
  }

  #capture({ encapsulation, local }: Tunnel, remote: Endpoint): PacketCapture {
    const overUdp = encapsulation === "UDP";
    const control: Omit<PayloadWord, "isTaken"> = overUdp ? CONTROL_OVER_UDP : CONTROL_OVER_IP;
    const filter = {
      protocol: overUdp ? IP_PROTOCOL.udp : IP_PROTOCOL.l2tp,
      ...{ local, remote, takes: "between" as const },
      word: { ...control, isTaken: this.#takesControl },
    };
    return new PacketCapture(filter, { snapBytes: SNAP_BYTES, bufferBytes: BUFFER_BYTES });
  }
}
