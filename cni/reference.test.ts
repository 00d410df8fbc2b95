import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { generateCniReference, REFERENCE } from "./reference.ts";

it("is what docs/cni.md holds, which is stale unless `make generate` has run", () => {
  expect(readFileSync(REFERENCE, "utf8")).toBe(generateCniReference());
});
