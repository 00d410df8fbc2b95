import { expect, it } from "vitest";
import { parseIpPacket } from "./ip-packet.ts";

const packet = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");

const ADDRESSES = "c0000201 c0000202";
const ADDRESSES6 = "20010db8000000000000000000000001 20010db8000000000000000000000002";
const both = { source: "192.0.2.1", destination: "192.0.2.2" };
const both6 = { source: "2001:db8::1", destination: "2001:db8::2" };

it.each([
  [
    "UDP over IPv4",
    `45000020 12340000 4011abcd ${ADDRESSES} 06a51388 000c0000 00030000`,
    { ...both, protocol: 17, sourcePort: 1701, destinationPort: 5000, payloadAt: 28 },
    { payloadBytes: 4, isFragmented: false },
  ],
  [
    "protocol 115 over IPv4 with an option",
    `4600001c 12340000 4073abcd ${ADDRESSES} 01010100 0000000b`,
    { ...both, protocol: 115, sourcePort: 0, destinationPort: 0, payloadAt: 24 },
    { payloadBytes: 4, isFragmented: false },
  ],
  [
    "a first fragment over IPv4",
    `450005dc 12342000 4011abcd ${ADDRESSES} 06a506a5 1f400000 00030000`,
    { ...both, protocol: 17, sourcePort: 1701, destinationPort: 1701, payloadAt: 28 },
    { payloadBytes: 1472, isFragmented: true },
  ],
  [
    "UDP over IPv6",
    `60000000 000c1140 ${ADDRESSES6} 06a51388 000cabcd 00030000`,
    { ...both6, protocol: 17, sourcePort: 1701, destinationPort: 5000, payloadAt: 48 },
    { payloadBytes: 4, isFragmented: false },
  ],
  [
    "a first fragment over IPv6",
    `60000000 05b02c40 ${ADDRESSES6} 11000001 00000007 06a51388 1f40abcd 00030000`,
    { ...both6, protocol: 17, sourcePort: 1701, destinationPort: 5000, payloadAt: 56 },
    { payloadBytes: 1440, isFragmented: true },
  ],
])("reads %s", (_, hex, head, payload) => {
  expect(parseIpPacket(packet(hex))).toEqual({ ...head, ...payload });
});

it.each([
  ["an empty packet", ""],
  ["another protocol", "00010800 06040001"],
  ["a later fragment over IPv4", `450005dc 123400b9 4011abcd ${ADDRESSES} 06a506a5`],
  ["a later fragment over IPv6", `60000000 05b02c40 ${ADDRESSES6} 110005a8 00000007 06a51388`],
  ["an address that is cut short", "45000020 12340000 4011abcd c0000201 c000"],
  ["ports that are cut short", `45000020 12340000 4011abcd ${ADDRESSES} 06a5`],
])("rejects %s", (_, hex) => {
  expect(parseIpPacket(packet(hex))).toBeNull();
});
