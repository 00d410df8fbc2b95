import { expect, it } from "vitest";
import { datagramsOf } from "./joined.ts";

const isKnown = (sessionId: number) => sessionId === 128 || sessionId === 129;

/** Returns a data message with that number of octets after its header. */
function message(sessionId: number, bytes: number): Buffer {
  const octets = Buffer.alloc(8 + bytes, 0xab);
  octets.writeUInt32BE(0x0003_0000, 0);
  octets.writeUInt32BE(sessionId, 4);
  return octets;
}

const sizes = (octets: Uint8Array, payloadBytes = octets.length) =>
  datagramsOf(octets, payloadBytes, isKnown).map(({ at, end }) => end - at);

it("finds one datagram", () => {
  expect(sizes(message(128, 1000))).toEqual([1008]);
});

it("finds datagrams of one size, the last shorter, of several sessions", () => {
  const all = [message(128, 100), message(129, 100), message(128, 100), message(128, 20)];
  expect(sizes(Buffer.concat(all))).toEqual([108, 108, 108, 28]);
});

it("counts datagrams that the capture has truncated", () => {
  const all = Buffer.concat(Array.from({ length: 10 }, () => message(128, 100)));
  expect(sizes(all.subarray(0, 300), all.length)).toEqual(Array.from({ length: 10 }, () => 108));
});

it("does not split at a header inside a frame", () => {
  const inside = Buffer.concat([message(128, 40), message(7, 12), message(128, 200)]);
  expect(sizes(inside)).toEqual([inside.length]);
  const tunnelled = Buffer.concat([message(128, 40), message(128, 200)]);
  // The second would be longer than the first, which no joined one is.
  expect(sizes(tunnelled)).toEqual([tunnelled.length]);
});

it("does not split a payload that is not a data message", () => {
  expect(sizes(Buffer.alloc(100))).toEqual([100]);
  expect(sizes(Buffer.alloc(0))).toEqual([0]);
});
