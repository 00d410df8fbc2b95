import { getHeapStatistics } from "node:v8";
import { expect, it } from "vitest";
import { collectGarbage, HeapRelease } from "./heap-release.ts";

/** Feeds a HeapRelease with messages. @returns the seconds at which it collected */
function collections(messagesPerSecond: readonly number[]): number[] {
  const collected: number[] = [];
  let now = 0;
  const release = new HeapRelease(() => collected.push(now / 1000));
  for (const messages of messagesPerSecond) {
    for (let i = 0; i < messages; i++) release.note(now);
    now += 1000;
    if (now >= release.deadline) release.poll(now);
  }
  return collected;
}

const seconds = (count: number, messages: number) => Array.from({ length: count }, () => messages);

it("collects once, within twenty seconds after a flood", () => {
  expect(collections([...seconds(25, 20_000), ...seconds(60, 0)])).toEqual([40]);
  expect(collections([...seconds(1, 20_000), ...seconds(60, 20)])).toEqual([20]);
});

it("collects after each flood, and not during a flood", () => {
  const flood = [...seconds(30, 20_000), ...seconds(30, 20)];
  expect(collections([...flood, ...flood])).toEqual([40, 100]);
});

it("does not collect for regular messages of many peers", () => {
  expect(collections(seconds(600, 200))).toEqual([]);
});

it("has no deadline without messages", () => {
  const release = new HeapRelease(() => {});
  expect(release.deadline).toBe(Number.POSITIVE_INFINITY);
  release.note(5);
  expect(release.deadline).toBe(10_005);
  release.poll(10_005);
  expect(release.deadline).toBe(Number.POSITIVE_INFINITY);
});

it("frees garbage", () => {
  const used = () => getHeapStatistics().used_heap_size;
  collectGarbage();
  const before = used();
  let garbage: string[][] | null = Array.from({ length: 200_000 }, (_, i) => [`${i}`]);
  expect(garbage.length).toBe(200_000);
  const most = used();
  garbage = null;
  collectGarbage();
  expect(used() - before).toBeLessThan((most - before) / 2);
});
