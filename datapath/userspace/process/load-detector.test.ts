import { expect, it } from "vitest";
import { LoadDetector } from "./load-detector.ts";

it("is busy after some time without a long sleep, until the next long sleep", () => {
  const changes: boolean[] = [];
  const detector = new LoadDetector((isBusy) => changes.push(isBusy));
  // Single frames, two milliseconds apart.
  let now = 100;
  for (let i = 0; i < 50; i++) {
    detector.waited(now, now + 2);
    now += 2;
    // A round has several waits.
    detector.waited(now, now + 0.1);
    now += 0.1;
  }
  expect(changes).toEqual([]);
  for (let i = 0; i < 49; i++) {
    detector.waited(now, now + 0.1);
    now += 0.1;
  }
  expect(changes).toEqual([]);
  for (let i = 0; i < 20; i++) {
    detector.waited(now, now + 0.1);
    now += 0.1;
  }
  expect(changes).toEqual([true]);
  detector.waited(now, now + 5);
  expect(changes).toEqual([true, false]);
});
