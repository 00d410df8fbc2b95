import { expect, it, vi } from "vitest";
import { Applied } from "./applied.ts";

const meta = { name: "a", uid: "u", resourceVersion: "1" };

it("knows what is under way until the object is seen to change", () => {
  const applied = new Applied();
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(false);
  applied.note("status", meta, { a: 1 });
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(true);
  expect(applied.isUnderWay("status", meta, { a: 2 })).toBe(false);
  expect(applied.isUnderWay("labels", meta, { a: 1 })).toBe(false);
  // Whatever has come, it may be somebody else's: look again.
  expect(applied.isUnderWay("status", { ...meta, resourceVersion: "2" }, { a: 1 })).toBe(false);
  applied.forget("status", meta);
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(false);
});

it("forgets after ten minutes what was applied to objects that had gone by then", () => {
  vi.useFakeTimers();
  try {
    const applied = new Applied();
    for (let count = 0; count < 10_000; count++) {
      const meta = { name: "x", uid: `uid-${count}`, resourceVersion: "1" };
      applied.forget("status", meta);
      applied.note("status", meta, {});
      expect(applied.isUnderWay("status", meta, {})).toBe(true);
      vi.advanceTimersByTime(1000);
    }
    expect(applied.size).toBeLessThanOrEqual(601);
  } finally {
    vi.useRealTimers();
  }
});
