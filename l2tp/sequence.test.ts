import fc from "fast-check";
import { expect, it } from "vitest";
import { nextSequence, SEQUENCE_MASK, sequenceDistance } from "./sequence.ts";

const sequence = fc.integer({ min: 0, max: SEQUENCE_MASK });

it("wraps after 24 bits", () => {
  expect(nextSequence(0)).toBe(1);
  expect(nextSequence(0xff_ffff)).toBe(0);
});

it("measures across the wrap", () => {
  expect(sequenceDistance(0xff_ffff, 0)).toBe(1);
  expect(sequenceDistance(0, 0xff_ffff)).toBe(-1);
  expect(sequenceDistance(0, 0x7f_ffff)).toBe(0x7f_ffff);
  expect(sequenceDistance(0, 0x80_0000)).toBe(-0x80_0000);
});

it("inverts steps of any length below half the range", () => {
  fc.assert(
    fc.property(sequence, fc.integer({ min: -0x80_0000, max: 0x7f_ffff }), (from, steps) => {
      expect(sequenceDistance(from, (from + steps) & SEQUENCE_MASK)).toBe(steps);
    }),
  );
});
