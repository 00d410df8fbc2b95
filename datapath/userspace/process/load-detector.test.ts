import { expect, it } from "vitest";
import { LoadDetector } from "./load-detector.ts";

it("is busy after a while without a long sleep, until there is one", () => {
  const changes: boolean[] = [];
  const detector = new LoadDetector((isBusy) => changes.push(isBusy));
  // Lone frames, two milliseconds apart.
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
