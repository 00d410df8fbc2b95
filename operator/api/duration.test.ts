import { expect, it } from "vitest";
import { durationMs, parseDuration } from "./duration.ts";

it("reads durations", () => {
  expect(parseDuration("50ms")).toBe(50);
  expect(parseDuration("2s")).toBe(2000);
  for (const bad of ["", "5", "ms", "-1ms", "1.5s", "1m"]) {
    expect(parseDuration(bad)).toBeUndefined();
    expect(durationMs(bad)).toBeNaN();
  }
});
