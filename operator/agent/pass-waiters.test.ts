import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { PassWaiters } from "./pass-waiters.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it("does not wait if the condition already holds", async () => {
  expect(await new PassWaiters().until(() => true, 1000)).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

it("waits until the pass after which the condition holds", async () => {
  const waiters = new PassWaiters();
  let passes = 0;
  const ended: boolean[] = [];
  void waiters.until(() => passes === 2, 1000).then((isMet) => ended.push(isMet));
  for (passes = 1; passes < 2; passes++) waiters.passed();
  await vi.advanceTimersByTimeAsync(0);
  expect(ended).toEqual([]);
  waiters.passed();
  await vi.advanceTimersByTimeAsync(0);
  expect(ended).toEqual([true]);
  expect(vi.getTimerCount()).toBe(0);
});

it("returns false after the timeout", async () => {
  const waiters = new PassWaiters();
  const ended: boolean[] = [];
  void waiters.until(() => false, 1000).then((isMet) => ended.push(isMet));
  await vi.advanceTimersByTimeAsync(999);
  waiters.passed();
  expect(ended).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(ended).toEqual([false]);
});
