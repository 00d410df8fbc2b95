import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ControlWatch } from "./control-watch.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const listing = (turns: number) => ({ tunnels: [], sessions: [], turns });

it("reports a change soon, and many changes at a limited rate", async () => {
  let turns = 1;
  let told = 0;
  const watch = new ControlWatch(
    async () => turns,
    () => {
      told++;
    },
  );
  watch.saw(listing(1), true);
  await vi.advanceTimersByTimeAsync(5000);
  expect(told).toBe(0);
  turns = 2;
  await vi.advanceTimersByTimeAsync(250);
  expect(told).toBe(1);
  watch.saw(listing(2), true);
  for (let round = 0; round < 40; round++) {
    turns++;
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(told).toBeGreaterThan(3);
  expect(told).toBeLessThan(7);
  // Without control connections nothing is watched.
  watch.saw(listing(turns), false);
  const before = told;
  turns++;
  await vi.advanceTimersByTimeAsync(5000);
  expect(told).toBe(before);
});

it("keeps polling while the datapath process does not answer", async () => {
  let turns: number | null = null;
  let told = 0;
  const watch = new ControlWatch(
    async () => turns ?? Promise.reject(new Error("gone")),
    () => {
      told++;
    },
  );
  watch.saw(listing(1), true);
  await vi.advanceTimersByTimeAsync(1000);
  turns = 2;
  await vi.advanceTimersByTimeAsync(250);
  expect(told).toBe(1);
  watch.stop();
});
