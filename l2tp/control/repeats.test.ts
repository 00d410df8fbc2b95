import { expect, it } from "vitest";
import { Repeats } from "./repeats.ts";

it("recognizes a retransmitted message, and no other", () => {
  const repeats = new Repeats();
  // The schedule of RFC 3931 (4.2).
  const pauses = [1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000, 8000, 8000];
  expect(repeats.isRepeat(7, 0)).toBe(false);
  let now = 0;
  for (const pause of pauses) {
    now += pause;
    expect(repeats.isRepeat(7, now)).toBe(true);
    expect(repeats.isRepeat(now, now)).toBe(false);
  }
});

it("does not recognize a message that is repeated at once or too often", () => {
  const repeats = new Repeats();
  const count = (pause: number, tries: number) => {
    let found = 0;
    for (let i = 0; i < tries; i++) if (repeats.isRepeat(pause, 1000 + i * pause)) found++;
    return found;
  };
  expect(count(0.05, 10_000)).toBe(0);
  expect(count(50, 1000)).toBe(0);
  expect(count(1000, 1000)).toBeLessThan(20);
});

it("forgets a message after the longest pause", () => {
  const repeats = new Repeats();
  expect(repeats.isRepeat(7, 0)).toBe(false);
  expect(repeats.isRepeat(7, 60_000)).toBe(false);
  expect(repeats.isRepeat(7, 61_000)).toBe(true);
});

it("remembers a message among 20,000 others per second", () => {
  const repeats = new Repeats();
  let tag = 1;
  const flood = (from: number, to: number) => {
    for (let now = from; now < to; now += 0.05) {
      tag = (Math.imul(tag, 1_664_525) + 1_013_904_223) | 0;
      repeats.isRepeat(Math.imul(tag ^ (tag >>> 15), 0x2c1b_3c6d), now);
    }
  };
  flood(0, 10_000);
  const kept = Array.from({ length: 200 }, (_, index) => (index + 1) * 7919);
  for (const each of kept) repeats.isRepeat(each, 10_000);
  flood(10_000, 11_000);
  const found = kept.filter((each) => repeats.isRepeat(each, 11_000));
  expect(found.length).toBeGreaterThan(0.9 * kept.length);
});

it("accepts clocks of any size, and any tag", () => {
  const repeats = new Repeats();
  for (const tag of [0, -1, 2 ** 31, -(2 ** 31)]) {
    expect(repeats.isRepeat(tag, 2 ** 32 - 500)).toBe(false);
    expect(repeats.isRepeat(tag, 2 ** 32 + 500)).toBe(true);
  }
});
