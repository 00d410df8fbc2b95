import { expect, it } from "vitest";
import { describeDatagram } from "./describe-data.ts";

const octets = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");
const BARE = { cookieBytes: 0, hasSublayer: false };
const FULL = { cookieBytes: 8, hasSublayer: true };

it.each([
  [
    "over UDP",
    "00030000 0000000b ffff",
    true,
    BARE,
    { sessionId: 11, cookie: "", sublayer: null, sequence: null, frameAt: 8 },
  ],
  [
    "over IP",
    "fffffffe ffff",
    false,
    BARE,
    { sessionId: 0xffff_fffe, cookie: "", sublayer: null, sequence: null, frameAt: 4 },
  ],
  [
    "with a cookie and a number",
    "00030000 0000000b 0102030405060708 40000007 ffff",
    true,
    FULL,
    { sessionId: 11, cookie: "0102030405060708", sublayer: 0x4000_0007, sequence: 7, frameAt: 20 },
  ],
  [
    "with a sublayer that has no number",
    "0000000b aabbccdd 00000000",
    false,
    { cookieBytes: 4, hasSublayer: true },
    { sessionId: 11, cookie: "aabbccdd", sublayer: 0, sequence: null, frameAt: 12 },
  ],
])("describes a data message %s", (_, hex, overUdp, layout, expected) => {
  expect(describeDatagram(octets(hex), overUdp, () => layout)).toEqual({
    kind: "data",
    ...expected,
  });
});

it.each([
  ["a control message over UDP", "c8030014 00000000", true, { kind: "control" }],
  ["a control message over IP", "00000000 c8030014", false, { kind: "control" }],
  ["a data message of L2TPv2", "00020000 0000000b", true, { kind: "other version" }],
  ["a message without a session id", "0003", true, { kind: "short", sessionId: null }],
  ["a cookie that is cut short", "0000000b 01020304", false, { kind: "short", sessionId: 11 }],
])("describes %s", (_, hex, overUdp, expected) => {
  expect(describeDatagram(octets(hex), overUdp, () => FULL)).toEqual(expected);
});

it("describes an unknown session without cookie and sublayer", () => {
  expect(describeDatagram(octets("0000000b 01020304"), false, () => null)).toMatchObject({
    sessionId: 11,
    frameAt: 4,
  });
});
