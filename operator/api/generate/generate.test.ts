import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { generateReference, REFERENCE } from "./reference.ts";
import { generateTypes, TYPES } from "./types.ts";

describe("what is generated from crds/, and is stale unless `make generate` has run", () => {
  it("the types", async () => {
    expect(readFileSync(TYPES, "utf8")).toBe(await generateTypes());
  });

  it("docs/api.md", () => {
    expect(readFileSync(REFERENCE, "utf8")).toBe(generateReference());
  });
});
