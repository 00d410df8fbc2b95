import { expect, it } from "vitest";
import { table } from "./table.ts";

it("aligns columns without trailing spaces", () => {
  const rows = [
    ["a", "first", ""],
    ["longer-name", "", "x"],
  ];
  expect(table(["NAME", "STATE", "LAST"], rows)).toBe(
    ["NAME          STATE   LAST", "a             first", "longer-name           x"].join("\n"),
  );
  expect(table(["NAME"], [])).toBe("NAME");
});

it("aligns wide and combining characters", () => {
  const rows = [
    ["日本", "x"],
    ["e\u0301t\u0301", "x"],
    ["≥ 1 ×", "x"],
    ["🚀", "x"],
  ] as const;
  expect(table(["NAME", "Y"], rows).split("\n")).toEqual([
    "NAME    Y",
    "日本    x",
    "e\u0301t\u0301      x",
    "≥ 1 ×   x",
    "🚀      x",
  ]);
});

it("replaces escape sequences and line breaks", () => {
  const rows = [["\u001b[31mred\u009b2J\r\nnext", "x"]] as const;
  expect(table(["NAME", "Y"], rows)).toBe(
    ["NAME                Y", "\ufffd[31mred\ufffd2J  next   x"].join("\n"),
  );
});
