import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import { fold, wordOf } from "./checksum.ts";
import { GENERATED, generatePackets } from "./generate/packets.ts";
import { createPacketMemory } from "./packet-memory.ts";
import { referenceSum } from "./testdata.ts";

it("matches packets.generated.ts, which is stale until `make generate` runs", async () => {
  expect(readFileSync(GENERATED, "utf8")).toBe(await generatePackets());
});

it("matches the reference sum at any offset and length", () => {
  const random = new Random(7);
  const { bytes, sum } = createPacketMemory(200_000);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
  for (let round = 0; round < 20_000; round++) {
    const at = random.below(1000);
    const length = round < 300 ? round : random.below(round % 100 === 0 ? 131_072 : 2000);
    const expected = referenceSum(bytes.subarray(at, at + length));
    expect(fold(sum(at, length)), `${length} bytes at ${at}`).toBe(wordOf(expected));
  }
});

it("copies the summed bytes, also to an overlapping lower address", () => {
  const random = new Random(9);
  const { bytes, copySum } = createPacketMemory(200_000);
  for (let round = 0; round < 5000; round++) {
    const at = 200 + random.below(1000);
    const length = round < 300 ? round : random.below(3000);
    const to = random.pick([at - 1 - random.below(200), 100_000 + random.below(100)]);
    for (let i = 0; i < 4300; i++) bytes[i] = random.below(256);
    const source = bytes.slice(at, at + length);
    const before = bytes[to + length];
    const total = fold(copySum(at, to, length));
    expect(total, `${length} bytes at ${at}`).toBe(wordOf(referenceSum(source)));
    expect(bytes.slice(to, to + length)).toEqual(source);
    expect(bytes[to + length]).toBe(before);
  }
});

it("does not overflow at the largest length", () => {
  const { bytes, sum } = createPacketMemory(131_072);
  bytes.fill(0xff);
  expect(fold(sum(0, 131_072))).toBe(0xffff);
});

it("computes the example of RFC 1071", () => {
  const { bytes, sum } = createPacketMemory(8);
  bytes.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
  expect(fold(sum(0, 8))).toBe(wordOf(0xddf2));
});
