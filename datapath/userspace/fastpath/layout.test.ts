import { expect, it } from "vitest";
import {
  cookieWords,
  createHeaderOut,
  DecodeStatus,
  decodeSessionHeader,
  decodeSessionId,
  type SessionTx,
} from "../../../l2tp/codec.ts";
import {
  DECAP,
  DECAP_KEY,
  decapKey,
  ENCAP,
  encapsulationHeader,
  encodeDecap,
  encodeEncap,
  passOn,
} from "./layout.ts";

const v4 = [
  { address: "192.0.2.1", port: 1701 },
  { address: "192.0.2.2", port: 5000 },
] as const;
const v6 = [
  { address: "2001:db8::1", port: 1701 },
  { address: "2001:db8::2", port: 5000 },
] as const;
const tx = (cookie: string, sublayer: boolean): SessionTx => ({
  overUdp: true,
  sessionId: 0x01020304,
  ...cookieWords(cookie),
  sublayer,
  sequencing: false,
  sequence: 0,
});
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

it("writes the headers of an IPv4 datagram", () => {
  const header = encapsulationHeader(...v4, tx("a1b2c3d4", true));
  expect(Buffer.from(header).toString("hex")).toBe(
    // IP without lengths, identification and checksum; UDP without length; L2TP.
    `45000000${"00000000"}40110000${"c0000201"}${"c0000202"}` +
      `06a51388${"00000000"}` +
      `00030000${"01020304"}${"a1b2c3d4"}${"00000000"}`,
  );
});

it("writes the headers of an IPv6 datagram", () => {
  const header = encapsulationHeader(...v6, tx("", false));
  expect(Buffer.from(header).toString("hex")).toBe(
    `60000000${"0000"}1140${"20010db8000000000000000000000001"}${"20010db8000000000000000000000002"}` +
      `06a51388${"00000000"}` +
      `00030000${"01020304"}`,
  );
});

it.each([
  ["", false],
  ["a1b2c3d4", false],
  ["a1b2c3d4e5f60718", true],
] as const)("writes cookie %j, sublayer %s as our receiver decodes them", (cookie, sublayer) => {
  const header = encapsulationHeader(...v4, tx(cookie, sublayer));
  const l2tp = 28;
  const out = createHeaderOut();
  const from = view(header);
  expect(decodeSessionId(from, l2tp, header.length, true, out)).toBe(DecodeStatus.Ok);
  expect(out.sessionId).toBe(0x01020304);
  const rx = { ...cookieWords(cookie), sublayer };
  expect(decodeSessionHeader(from, header.length, rx, out)).toBe(DecodeStatus.Ok);
  expect(out.next).toBe(header.length);
  const arrival = encodeDecap({ device: 9, slot: 3, maxFrame: 1500, family: 4, rx });
  // Includes the frame's own Ethernet header.
  expect(view(arrival).getUint32(DECAP.strip, true)).toBe(header.length + 14);
  expect(view(arrival).getUint32(DECAP.cookieBytes, true)).toBe(cookie.length / 2);
  const text = Buffer.from(arrival.subarray(DECAP.cookie, DECAP.cookie + 8)).toString("hex");
  expect(text).toBe(cookie.padEnd(16, "0"));
});

it("sums the IPv4 header as the receiver does", () => {
  const header = encapsulationHeader(...v4, tx("", false));
  const port = encodeEncap({ other: 4, egress: 2, slot: 1, maxFrame: 1464, header });
  const ip = port.subarray(ENCAP.header + 14, ENCAP.header + 34);
  // The fields that the program sets.
  view(ip).setUint16(2, 1234);
  view(ip).setUint16(4, 0xbeef);
  let sum = view(port).getUint32(ENCAP.ipSum, true);
  sum += view(ip).getUint16(2, true) + view(ip).getUint16(4, true);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view(ip).setUint16(10, ~sum & 0xffff, true);
  let check = 0;
  for (let at = 0; at < 20; at += 2) check += view(ip).getUint16(at);
  while (check > 0xffff) check = (check & 0xffff) + (check >>> 16);
  expect(check).toBe(0xffff);
});

it("distinguishes sessions with other endpoints", () => {
  const keys = [
    decapKey(...v4, 1),
    decapKey(...v4, 2),
    decapKey(v4[1], v4[0], 1),
    decapKey(v4[0], { ...v4[1], port: 1 }, 1),
    decapKey(...v6, 1),
    // IPv6 addresses that begin with the bytes of the IPv4 addresses.
    decapKey({ address: "c000:201::", port: 1701 }, { address: "c000:202::", port: 5000 }, 1),
  ].map((key) => Buffer.from(key).toString("hex"));
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys.every((key) => key.length === 2 * DECAP_KEY.bytes)).toBe(true);
});

it("passes frames on without encapsulation", () => {
  const port = view(passOn(7));
  expect([port.getUint32(ENCAP.other, true), port.getUint32(ENCAP.egress, true)]).toEqual([7, 0]);
});
