/**
 * A peer that sends given control messages: `node router.ts JSON`, a RouterOptions. Sends each line of its standard
 * input, a message in hexadecimal digits, and prints each received message.
 */
import { createInterface } from "node:readline";
import { c } from "../../linux/ffi.ts";
import {
  encodeSockaddr,
  openDatagramSocket,
  type SocketAddress,
  sendTo,
} from "../../linux/socket.ts";
import type { Encapsulation } from "../../model/model.ts";

export interface RouterOptions {
  readonly encapsulation: Encapsulation;
  readonly from: SocketAddress;
  readonly to: SocketAddress;
}

const PROTOCOL = 115;
const MSG_DONTWAIT = 0x40;
const POLL_MS = 5;
/** The prefix of control messages over IP. */
const ZERO_SESSION_ID = Buffer.alloc(4);

const { encapsulation, from, to } = JSON.parse(process.argv[2] ?? "") as RouterOptions;
const isUdp = encapsulation === "UDP";
const fd = openDatagramSocket(isUdp ? null : PROTOCOL, from);
const sockaddr = encodeSockaddr(to);
const buffer = Buffer.alloc(2048);

for (const stream of [process.stdout, process.stdin]) stream.on("error", () => process.exit());
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = Buffer.from(line, "hex");
    sendTo(fd, isUdp ? message : Buffer.concat([ZERO_SESSION_ID, message]), sockaddr);
  })
  .on("close", () => process.exit());

/** The offset of the message in a received packet: raw IPv4 sockets include the IP header. */
function messageAt(): number {
  if (isUdp) return 0;
  const header = from.address.includes(":") ? 0 : 4 * ((buffer[0] ?? 0) & 0x0f);
  return header + ZERO_SESSION_ID.length;
}

setInterval(() => {
  for (;;) {
    const length = c.recv(fd, buffer, buffer.length, MSG_DONTWAIT);
    if (length < 0) return;
    console.log(buffer.subarray(messageAt(), length).toString("hex"));
  }
}, POLL_MS);
