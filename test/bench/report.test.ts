import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Report, type Row, takeParts } from "./report.ts";

let folder: string;
let printed: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bench-"));
  printed = "";
  for (const stream of ["log", "error"] as const) {
    vi.spyOn(console, stream).mockImplementation((...words) => {
      printed += `${words.map(String).join(" ")}\n`;
    });
  }
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const file = (name: string) => readFileSync(join(folder, name), "utf8");
const rows = () => JSON.parse(file("bench.json")) as Row[];
const works = () => rows().map(({ work, ratio }) => [work, ratio]);

const measured = (work: string) => async (report: Report) =>
  report.addRatio(work, "another", 2, { least: 1 }, "2 against 1");

async function slow(): Promise<void> {
  throw new Error("timed out waiting: passes with nothing to do\nand more", {
    cause: new Error("the agent is busy"),
  });
}

it("reports a failed part in a row, runs the others, and exits with status 1", async () => {
  const status = await takeParts(
    [
      ["before", measured("one")],
      ["scale", slow],
      ["after", measured("two")],
    ],
    folder,
  );
  expect(status).toBe(1);
  expect(works()).toEqual([
    ["one", 2],
    ["scale", null],
    ["two", 2],
  ]);
  const why = "timed out waiting: passes with nothing to do: the agent is busy";
  expect(rows()[1]).toMatchObject({ met: false, note: why });
  expect(printed).toMatch(new RegExp(`^scale +- +failed +- +no +${why}$`, "m"));
  expect(printed).toContain(`failed: scale: ${why}\n`);
});

it("names a failed measurement inside of a part, and keeps the part's other rows", async () => {
  const part = async (report: Report) => {
    await report.attempt("250 sessions", () => measured("small")(report));
    await report.attempt("500 sessions", slow);
    await report.attempt("1000 sessions", () => measured("large")(report));
  };
  expect(await takeParts([["scale", part]], folder)).toBe(1);
  expect(works()).toEqual([
    ["small", 2],
    ["scale: 500 sessions", null],
    ["large", 2],
  ]);
});

it("treats an undefined ratio as a failure", async () => {
  const part = async (report: Report) =>
    report.add("ping", "another", [[], [1]], { most: 1 }, "ms");
  expect(await takeParts([["traffic", part]], folder)).toBe(1);
  expect(works()).toEqual([["ping", null]]);
});

it("exits with status 0 if everything is measured, even if a bound is missed", async () => {
  const part = async (report: Report) =>
    report.addRatio("one", "another", 0.5, { least: 1 }, "1 against 2");
  expect(await takeParts([["part", part]], folder)).toBe(0);
  expect(rows()).toMatchObject([{ ratio: 0.5, met: false }]);
});

it("writes the rows so far while a part runs, and no rows of an earlier run", async () => {
  writeFileSync(join(folder, "bench.json"), '[{"work":"yesterday"}]');
  const seen: unknown[] = [];
  await takeParts(
    [
      ["one", measured("one")],
      ["two", async () => void seen.push(...works())],
    ],
    folder,
  );
  expect(seen).toEqual([["one", 2]]);
});
