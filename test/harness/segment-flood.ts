/**
 * Sends large frames into an interface without pause, as a network stack with segmentation offload does:
 * segment-flood.ts INTERFACE KIND. It prints "flooding" after the first frames. A process with a packet socket
 * (packet(7)) can choose the segments' size, down to one byte.
 */

import { buildFrame } from "../../datapath/userspace/offload/testdata.ts";
import {
  GsoType,
  NEEDS_CHECKSUM,
  VNET,
  VNET_HEADER_BYTES,
} from "../../datapath/userspace/offload/vnet-header.ts";
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const ETHERNET_BYTES = 14;
const HEADER_BYTES = 54;
const BURST = 64;

/** A frame with this much payload, in segments of this size. */
function large(payloadBytes: number, segmentBytes: number): Buffer {
  const payload = new Uint8Array(payloadBytes);
  const isPartial = true;
  const header = new DataView(new ArrayBuffer(VNET_HEADER_BYTES));
  header.setUint8(VNET.flags, NEEDS_CHECKSUM);
  header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
  header.setUint16(VNET.headerBytes, HEADER_BYTES, true);
  header.setUint16(VNET.gsoSize, segmentBytes, true);
  header.setUint16(VNET.checksumStart, 34, true);
  header.setUint16(VNET.checksumOffset, 16, true);
  const frame = buildFrame({ isIpv4: true, protocol: 6, payload, isPartial });
  return Buffer.concat([new Uint8Array(header.buffer), frame]);
}

const small = Buffer.concat([
  Buffer.alloc(VNET_HEADER_BYTES),
  buildFrame({ isIpv4: true, protocol: 17, payload: new Uint8Array(18) }),
]);
const tiny = large(64_000, 36);

const KINDS: Readonly<Record<string, readonly Buffer[]>> = {
  /** The sizes of a usual stack. */
  large: [large(64_000, 1300)],
  /** The largest possible number of segments in a frame. */
  tiny: [tiny],
  small: [small],
  /** Small frames, which make the next read a batch, followed by tiny segments. */
  mixed: [...Array(BURST).fill(small), ...Array(BURST).fill(tiny)],
};

function open(name: string): number {
  const netlink = new NetlinkSocket(NETLINK_ROUTE, null);
  const link = findLink(netlink, name);
  netlink.close();
  if (link === undefined) throw new Error(`interface ${name} not found`);
  const fd = checked(c.socket(AF_PACKET, SOCK_RAW, 0), "socket");
  const one = Buffer.alloc(4);
  one.writeInt32LE(1);
  checked(c.setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, one, 4), "setsockopt PACKET_VNET_HDR");
  const sockaddr = Buffer.alloc(20);
  sockaddr.writeUInt16LE(AF_PACKET, 0);
  sockaddr.writeUInt16BE(0x0800, 2);
  sockaddr.writeInt32LE(link.index, 4);
  checked(c.bind(fd, sockaddr, sockaddr.length), "bind", name);
  return fd;
}

const [name = "", kind = ""] = process.argv.slice(2);
const frames = KINDS[kind];
if (frames === undefined || frames.some(({ length }) => length < ETHERNET_BYTES)) {
  throw new Error(`unknown kind ${kind}; use one of ${Object.keys(KINDS).join(", ")}`);
}
const fd = open(name);
for (let sent = 0; ; ) {
  for (const frame of frames) {
    try {
      checked(c.sendto(fd, frame, frame.length, 0, null, 0), "send");
    } catch (error) {
      // A full queue is expected.
      if (!isErrno(error, "ENOBUFS", "EAGAIN")) throw error;
    }
    if (++sent === BURST) console.log("flooding");
  }
}
