import { afterEach, expect, it } from "vitest";
import { until } from "../../test/harness/wait.ts";
import { WorkQueue } from "./work-queue.ts";

const stopped: AbortController[] = [];
afterEach(() => {
  for (const controller of stopped.splice(0)) controller.abort(new Error("stopped"));
});

function start(work: (key: string) => Promise<void>, change = {}) {
  const controller = new AbortController();
  stopped.push(controller);
  const failures: string[] = [];
  const queue = new WorkQueue({
    work,
    failed: (key) => failures.push(key),
    concurrency: 2,
    maxPerSecond: 1000,
    firstBackoffMs: 1,
    mostBackoffMs: 4,
    ...change,
  });
  return { queue, failures, running: queue.run(controller.signal), controller };
}

it("works on a key once if it is added several times", async () => {
  const done: string[] = [];
  const { queue } = start(async (key) => void done.push(key));
  for (const key of ["a", "b", "a", "a"]) queue.add(key);
  await until("all is done", () => queue.isIdle);
  expect(done).toEqual(["a", "b"]);
});

it("never works on a key twice at the same time, and repeats keys that are added meanwhile", async () => {
  let [now, most, count] = [0, 0, 0];
  const { queue } = start(async () => {
    most = Math.max(most, ++now);
    count++;
    if (count === 1) queue.add("a");
    await new Promise((resolve) => setTimeout(resolve, 5));
    now--;
  });
  queue.add("a");
  await until("it has been worked on twice", () => count === 2 && queue.isIdle);
  expect(most).toBe(1);
});

it("works on several keys at once, within its concurrency", async () => {
  let [now, most] = [0, 0];
  const { queue } = start(async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 5));
    now--;
  });
  for (let key = 0; key < 10; key++) queue.add(String(key));
  await until("all is done", () => queue.isIdle);
  expect(most).toBe(2);
});

it("retries only failed keys", async () => {
  const tries = new Map<string, number>();
  const { queue, failures } = start(async (key) => {
    tries.set(key, (tries.get(key) ?? 0) + 1);
    if (key === "bad" && (tries.get(key) ?? 0) < 4) throw new Error("not yet");
  });
  queue.add("good");
  queue.add("bad");
  await until("all is done", () => queue.isIdle);
  expect(Object.fromEntries(tries)).toEqual({ good: 1, bad: 4 });
  expect(failures).toEqual(["bad", "bad", "bad"]);
});

it("keeps the earliest due time of a key", async () => {
  const done: string[] = [];
  const { queue } = start(async (key) => void done.push(key));
  queue.addAfter("a", 3_600_000);
  queue.addAfter("a", 1);
  queue.addAfter("a", 3_600_000);
  await until("it is done", () => done.length === 1 && queue.isIdle);
});

it("finishes running work when it is aborted", async () => {
  let isDone = false;
  const { queue, running, controller } = start(async () => {
    controller.abort(new Error("stopped"));
    await new Promise((resolve) => setTimeout(resolve, 10));
    isDone = true;
  });
  queue.add("a");
  await running;
  expect(isDone).toBe(true);
});
