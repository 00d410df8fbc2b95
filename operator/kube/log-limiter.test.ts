import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LogLimiter } from "./log-limiter.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it("logs a repeated line after ten minutes, and a different line at once", () => {
  const limiter = new LogLimiter();
  expect(limiter.shouldLog("a", "one")).toBe(true);
  expect(limiter.shouldLog("a", "one")).toBe(false);
  expect(limiter.shouldLog("a", "two")).toBe(true);
  vi.advanceTimersByTime(599_000);
  expect(limiter.shouldLog("a", "two")).toBe(false);
  vi.advanceTimersByTime(2000);
  expect(limiter.shouldLog("a", "two")).toBe(true);
});

it("forgets subjects without a line for ten minutes", () => {
  const limiter = new LogLimiter();
  for (let pod = 0; pod < 10_000; pod++) {
    limiter.shouldLog(`GET pod-${pod}`, "not found");
    limiter.shouldLog("still", "wrong");
    vi.advanceTimersByTime(1000);
  }
  // The subjects of the last ten minutes.
  expect([...limiter.subjects()].length).toBeLessThanOrEqual(602);
});
