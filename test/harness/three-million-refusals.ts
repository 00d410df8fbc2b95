/**
 * Rejects three million control messages: requests, and messages of a connection with wrong sequence numbers.
 * Run with --trace-gc: collections between the two printed lines are caused by rejecting.
 */

import { type Body, encodeBody, encodeMessage } from "../../l2tp/control/message.ts";
import { Simulation } from "../../l2tp/control/testing/simulation.ts";
import { parseAddress } from "../../net/ip.ts";

const MESSAGES = 3_000_000;
const WARM_UP = 500_000;
const A_MILLISECOND = 20;
const MARK = 0xa55a_a55a;
const MARK_OCTETS = Buffer.from("a55aa55a", "hex");
const NS_AT = 8;

const simulation = new Simulation();
const one = simulation.add(1, { initiates: false });
const other = simulation.add(2);
for (const end of [one, other]) end.start();
simulation.run(1000, () => one.isUp);

function message(connectionId: number, body: Body): DataView {
  const header = { connectionId, ns: 0, nr: 0 };
  const { octets } = encodeMessage(header, encodeBody(body));
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

const names = { hostName: "other-peer", routerId: 1, pseudowireCapabilities: [5] };
const request = message(0, { type: "SCCRQ", attributes: { ...names, assignedConnectionId: MARK } });
const markAt = Buffer.from(request.buffer).indexOf(MARK_OCTETS);
const hello = message(one.peering.established?.localId ?? 0, { type: "HELLO", attributes: {} });
const address = parseAddress("192.0.2.2") ?? new Uint8Array();
let now = 1000;
let admitted = 0;

function refuse(count: number): void {
  for (let i = 0; i < count; i++) {
    if (i % A_MILLISECOND === 0) now++;
    request.setUint32(markAt, i + 1);
    hello.setUint16(NS_AT, i & 0x7fff);
    const view = i % 2 === 0 ? request : hello;
    const peer = one.lcce.peerAt("UDP", address, 0, address.length);
    if (peer !== undefined && one.lcce.admits(peer, view, 0, view.byteLength, now)) admitted++;
  }
}

refuse(WARM_UP);
admitted = 0;
console.log("begins");
refuse(MESSAGES);
console.log("ends");
console.log(JSON.stringify({ admitted, messages: MESSAGES }));
