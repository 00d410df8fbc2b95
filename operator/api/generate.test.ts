import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { GENERATED, generateTypes } from "./generate.ts";

it("finds generated.ts up to date; else run `make generate`", async () => {
  expect(readFileSync(GENERATED, "utf8")).toBe(await generateTypes());
});
