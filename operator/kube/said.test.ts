import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Said } from "./said.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it("says a line again after ten minutes, and another one at once", () => {
  const said = new Said();
  expect(said.isNews("a", "one")).toBe(true);
  expect(said.isNews("a", "one")).toBe(false);
  expect(said.isNews("a", "two")).toBe(true);
  vi.advanceTimersByTime(599_000);
  expect(said.isNews("a", "two")).toBe(false);
  vi.advanceTimersByTime(2000);
  expect(said.isNews("a", "two")).toBe(true);
});

it("keeps no subject of which nothing was said for ten minutes", () => {
  const said = new Said();
  for (let pod = 0; pod < 10_000; pod++) {
    said.isNews(`GET pod-${pod}`, "not found");
    said.isNews("still", "wrong");
    vi.advanceTimersByTime(1000);
  }
  // Those of the last ten minutes.
  expect([...said.subjects()].length).toBeLessThanOrEqual(602);
});
