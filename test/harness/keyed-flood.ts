/**
 * Sends data messages over IPv6 (protocol 115) to keyed circuits as fast as possible, a burst to each in turn:
 * node keyed-flood.ts LOCAL PAYLOAD-HEX SECONDS CIRCUITS.
 */
import { createArena } from "../../datapath/userspace/packet/arena.ts";
import { IoVectors, MessageVectors } from "../../datapath/userspace/packet/vectors.ts";
import { packet } from "../../linux/ffi.ts";
import { encodeSockaddr, openDatagramSocket } from "../../linux/socket.ts";
import { circuitAddress } from "./keyed.ts";

const L2TP_PROTOCOL = 115;
const BURST = 44;

const [address = "", hex = "", seconds, circuits] = process.argv.slice(2);
const payload = Buffer.from(hex, "hex");
const arena = createArena(65_536);
arena.bytes.set(payload);
const pieces = new IoVectors(arena, 1);
pieces.set(0, 0, payload.length);
const messages = new MessageVectors(pieces, BURST);
for (let index = 0; index < BURST; index++) messages.setPieces(index, 0, 1);
const destinations = Array.from(
  { length: Number(circuits) },
  (_, index) => new Uint32Array(encodeSockaddr({ address: circuitAddress(index), port: 0 }).buffer),
);
const fd = openDatagramSocket(L2TP_PROTOCOL, { address, port: 0 });
const end = Date.now() + Number(seconds) * 1000;
for (let turn = 0; Date.now() < end; turn++) {
  const destination = destinations[turn % destinations.length] as Uint32Array;
  for (let index = 0; index < BURST; index++) messages.setDestination(index, destination);
  // A full queue is not an error: the flood fills it.
  packet.sendmmsg(fd, messages.addressOf(0, BURST), BURST, 0);
}
