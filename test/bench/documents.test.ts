import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { documentsOf, RESULTS, ROOT } from "./documents.ts";
import type { Row } from "./report.ts";

const read = (path: string) => readFileSync(`${ROOT}${path}`, "utf8");
const rows = JSON.parse(read(RESULTS)) as Row[];
const documents = documentsOf(rows, read("README.md"));

it.each([...documents])("%s equals the output of the last bench", (path, text) => {
  expect(read(path)).toBe(text);
});

it("has two charts", () => {
  expect([...documents.keys()].filter((path) => path.endsWith(".svg"))).toHaveLength(2);
});

it("keeps the rest of the README, and rejects one without a place for the table", () => {
  const readme = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n";
  const renewed = documentsOf([], readme).get("README.md");
  expect(renewed).toMatch(
    /^before\n<!-- bench -->\n\n\| what [\s\S]*\n\n<!-- \/bench -->\nafter\n$/,
  );
  expect(() => documentsOf([], "nothing")).toThrow("README.md: no <!-- bench -->");
});
