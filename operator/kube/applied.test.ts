import { expect, it } from "vitest";
import { Applied } from "./applied.ts";

const meta = { name: "a", uid: "u", resourceVersion: "1" };

it("knows what is under way until the object is seen to change", () => {
  const applied = new Applied();
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(false);
  applied.note("status", meta, { a: 1 });
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(true);
  expect(applied.isUnderWay("status", meta, { a: 2 })).toBe(false);
  expect(applied.isUnderWay("labels", meta, { a: 1 })).toBe(false);
  // Whatever has come, it may be somebody else's: look again.
  expect(applied.isUnderWay("status", { ...meta, resourceVersion: "2" }, { a: 1 })).toBe(false);
  applied.forget("status", meta);
  expect(applied.isUnderWay("status", meta, { a: 1 })).toBe(false);
});
