import { expect, it } from "vitest";
import { cookieProblem, parseCookie } from "./cookie.ts";

it("reads cookies", () => {
  expect(parseCookie(" 0xA1B2C3D4\n")).toBe("a1b2c3d4");
  expect(parseCookie("a1b2c3d")).toBeUndefined();
  expect(parseCookie("a1b2c3d4e5f6")).toBeUndefined();
});

it.each([
  ["aabbccddee", "10 hexadecimal digits"],
  ["", "0 hexadecimal digits"],
  ["aabbccdg", "is not hexadecimal"],
])("reports the fault of %j without showing it", (text, message) => {
  expect(cookieProblem(text)).toContain(message);
});
