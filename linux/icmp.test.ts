import { expect, it } from "vitest";
import { parseIcmpError, parseIcmpv6Error } from "./icmp.ts";

const bytes = (...parts: string[]) => Buffer.from(parts.join("").replaceAll(" ", ""), "hex");

/** A Linux host's answer to a datagram from 192.0.2.1 port 5000 to 192.0.2.2 port 5001. */
const PORT_UNREACHABLE = bytes(
  "45c0 0039 0000 0000 4001 0000 c0000202 c0000201",
  "0303 0000 00000000",
  "4500 001d 0000 0000 4011 0000 c0000201 c0000202",
  "1388 1389 0009 0000 00",
);

it("parses an unreachable port and the datagram's endpoints", () => {
  expect(parseIcmpError(PORT_UNREACHABLE)).toEqual({
    what: "port",
    ...{ source: "192.0.2.1", destination: "192.0.2.2", protocol: 17 },
    ...{ sourcePort: 5000, destinationPort: 5001 },
  });
});

it.each([
  [0, "network"],
  [1, "host"],
  [2, "protocol"],
  [13, "prohibited"],
])("parses code %i as %s", (code, what) => {
  const message = Buffer.from(PORT_UNREACHABLE);
  message[21] = code;
  expect(parseIcmpError(message)?.what).toBe(what);
});

it("ignores a packet that is too large, and truncated messages", () => {
  const tooLarge = Buffer.from(PORT_UNREACHABLE);
  tooLarge[21] = 4;
  expect(parseIcmpError(tooLarge)).toBeUndefined();
  for (let length = 0; length < PORT_UNREACHABLE.length - 5; length++) {
    expect(parseIcmpError(PORT_UNREACHABLE.subarray(0, length))).toBeUndefined();
  }
});

const INNER_V6 = [
  "6000 0000 0009 1140",
  "20010db8000000000000000000000001 20010db8000000000000000000000002",
  "1388 1389 0009 0000 00",
];

it.each([
  ["0104", "port"],
  ["0103", "host"],
  ["0101", "prohibited"],
  // Linux has no socket for the protocol.
  ["0401", "protocol"],
])("parses %s of ICMPv6 as %s", (head, what) => {
  expect(parseIcmpv6Error(bytes(head, "0000 00000000", ...INNER_V6))).toEqual({
    what,
    ...{ source: "2001:db8::1", destination: "2001:db8::2", protocol: 17 },
    ...{ sourcePort: 5000, destinationPort: 5001 },
  });
});

it("ignores other parameter problems", () => {
  expect(parseIcmpv6Error(bytes("0400", "0000 00000000", ...INNER_V6))).toBeUndefined();
  expect(parseIcmpv6Error(bytes("0104"))).toBeUndefined();
});
