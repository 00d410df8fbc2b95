import { expect, it } from "vitest";
import { terminalJson, terminalLines } from "./terminal-text.ts";

it.each([
  ["an escape sequence", "a\u001b[2Jb", "a·[2Jb"],
  ["one of eight bits", "a\u009b2Jb", "a·2Jb"],
  ["a carriage return", "a\rb", "a·b"],
  ["text from right to left", "a\u202eb", "a·b"],
  ["another end of a line", "a\u2028b", "a·b"],
])("takes the effect of %s", (_, text, expected) => {
  expect(terminalLines(text)).toBe(expected);
});

it("does not change lines and letters", () => {
  expect(terminalLines("Größe\n  日本")).toBe("Größe\n  日本");
});

it("escapes characters that JSON does not escape", () => {
  const value = { text: "a\u009b\u202e\n日本" };
  const json = terminalJson(JSON.stringify(value, null, 2));
  expect(json).toContain("a\\u009b\\u202e\\n日本");
  expect(JSON.parse(json)).toEqual(value);
});
