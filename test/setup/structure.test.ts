import { expect, it } from "vitest";
import { cycles, forbiddenImports, importsOf, readArrows } from "./structure.ts";

const graph = (edges: Record<string, string[]>) =>
  new Map(Object.entries(edges).map(([from, to]) => [from, new Set(to)]));

const TABLE = `
| folder | what | imports |
|---|---|---|
| \`net/\` | addresses | nothing |
| \`model/\` | the plan | \`net\` |
| \`model/kinds/\` | kinds | \`model\`, \`net\` |
`;

it("treats type imports as imports", () => {
  const text = 'import type { A } from "../net/ip.ts";\nconst b = await import("./b.ts");\n';
  expect(importsOf("model/a.ts", text)).toEqual(["net/ip.ts", "model/b.ts"]);
});

it("applies the table's row of the longest folder", () => {
  const arrows = readArrows(TABLE);
  const right = graph({
    "model/a.ts": ["net/ip.ts", "model/b.ts"],
    "model/kinds/k.ts": ["model/a.ts"],
  });
  expect(forbiddenImports(right, arrows)).toEqual([]);
  const wrong = graph({ "net/ip.ts": ["model/a.ts"], "model/a.ts": ["model/kinds/k.ts"] });
  expect(forbiddenImports(wrong, arrows)).toHaveLength(2);
  expect(forbiddenImports(graph({ "new/a.ts": [] }), arrows)).toEqual([
    "new/a.ts: CONTRIBUTING's table has no row for its folder",
  ]);
});

it("finds cycles of any length", () => {
  expect(cycles(graph({ a: ["b"], b: ["c"], c: [] }))).toEqual([]);
  expect(cycles(graph({ a: ["b"], b: ["c"], c: ["a"], d: ["a"] }))).toEqual([["a", "b", "c"]]);
});
