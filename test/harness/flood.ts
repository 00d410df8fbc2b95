/**
 * Sends an L2TPv3 data message over UDP as fast as it can:
 * node flood.ts LOCAL PORT REMOTE PORT PAYLOAD-HEX SECONDS [SESSIONS].
 * Uses segmentation offload (udp(7), UDP_SEGMENT), so that one processor can flood any receiver. With several
 * sessions, each gets a burst in turn; their IDs are consecutive, from the payload's on.
 */
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { AF_INET, encodeSockaddr, SOL_UDP, UDP_SEGMENT } from "../../linux/socket.ts";

const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SEGMENTS = 44;
const SESSION_ID_AT = 4;

const [local = "", localPort, remote = "", remotePort, hex = "", seconds, sessions = "1"] =
  process.argv.slice(2);
const payload = Buffer.from(hex, "hex");
const bursts = Array.from({ length: Number(sessions) }, (_, index) => {
  const message = Buffer.from(payload);
  message.writeUInt32BE(payload.readUInt32BE(SESSION_ID_AT) + index, SESSION_ID_AT);
  return Buffer.concat(Array.from({ length: SEGMENTS }, () => message));
});

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

const fd = checked(c.socket(AF_INET, SOCK_DGRAM, 0), "socket");
checked(c.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, int32(8 << 20), 4), "setsockopt");
checked(c.setsockopt(fd, SOL_UDP, UDP_SEGMENT, int32(payload.length), 4), "setsockopt UDP_SEGMENT");
checked(
  c.bind(fd, encodeSockaddr({ address: local, port: Number(localPort) }), 16),
  "bind",
  `${local}:${localPort}`,
);
const to = encodeSockaddr({ address: remote, port: Number(remotePort) });
const end = Date.now() + Number(seconds) * 1000;
for (let turn = 0; Date.now() < end; ) {
  for (let i = 0; i < 64; i++, turn++) {
    const burst = bursts[turn % bursts.length] as Buffer;
    try {
      checked(c.sendto(fd, burst, burst.length, 0, to, to.length), "send");
    } catch (error) {
      // A full queue is expected.
      if (!isErrno(error, "ENOBUFS", "EAGAIN")) throw error;
    }
  }
}
