import { expect, it, vi } from "vitest";
import { PendingApplies } from "./pending-applies.ts";

const meta = { name: "a", uid: "u", resourceVersion: "1" };

it("keeps an apply pending until the object changes", () => {
  const applied = new PendingApplies();
  expect(applied.isPending("status", meta, { a: 1 })).toBe(false);
  applied.note("status", meta, { a: 1 });
  expect(applied.isPending("status", meta, { a: 1 })).toBe(true);
  expect(applied.isPending("status", meta, { a: 2 })).toBe(false);
  expect(applied.isPending("labels", meta, { a: 1 })).toBe(false);
  // The change may be another writer's, so the apply is not pending anymore.
  expect(applied.isPending("status", { ...meta, resourceVersion: "2" }, { a: 1 })).toBe(false);
  applied.forget("status", meta);
  expect(applied.isPending("status", meta, { a: 1 })).toBe(false);
});

it("forgets applies to deleted objects after ten minutes", () => {
  vi.useFakeTimers();
  try {
    const applied = new PendingApplies();
    for (let count = 0; count < 10_000; count++) {
      const meta = { name: "x", uid: `uid-${count}`, resourceVersion: "1" };
      applied.forget("status", meta);
      applied.note("status", meta, {});
      expect(applied.isPending("status", meta, {})).toBe(true);
      vi.advanceTimersByTime(1000);
    }
    expect(applied.size).toBeLessThanOrEqual(601);
  } finally {
    vi.useRealTimers();
  }
});
