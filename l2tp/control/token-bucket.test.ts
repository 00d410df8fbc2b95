import { expect, it } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

const takes = (bucket: TokenBucket, now: number, tries: number): number =>
  Array.from({ length: tries }, () => bucket.take(now)).filter((taken) => taken).length;

it("permits a burst at once, and then its rate", () => {
  const bucket = new TokenBucket({ burst: 10, perSecond: 100 });
  expect(takes(bucket, 5000, 20)).toBe(10);
  expect(takes(bucket, 5009, 20)).toBe(0);
  expect(takes(bucket, 5010, 20)).toBe(1);
  expect(takes(bucket, 5050, 20)).toBe(4);
});

it("accumulates no more than its burst", () => {
  const bucket = new TokenBucket({ burst: 10, perSecond: 100 });
  expect(takes(bucket, 0, 10)).toBe(10);
  expect(takes(bucket, 1e9, 100)).toBe(10);
});

it("permits its rate to a continuous caller", () => {
  const bucket = new TokenBucket({ burst: 10, perSecond: 100 });
  let taken = 0;
  for (let now = 0; now < 10_000; now += 0.05) if (bucket.take(now)) taken++;
  expect(taken).toBeGreaterThanOrEqual(10 + 999);
  expect(taken).toBeLessThanOrEqual(10 + 1000);
});

it("permits nothing while the clock stops or goes back", () => {
  const bucket = new TokenBucket({ burst: 1, perSecond: 1000 });
  expect(bucket.take(100)).toBe(true);
  expect(bucket.take(50)).toBe(false);
  expect(bucket.take(100)).toBe(false);
  expect(bucket.take(101)).toBe(true);
});
