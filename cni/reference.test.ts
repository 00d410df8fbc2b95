import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { CNI_REFERENCE, generateCniReference } from "./reference.ts";

it("is what docs/cni.md holds, which is stale unless `make generate` has run", () => {
  expect(readFileSync(CNI_REFERENCE, "utf8")).toBe(generateCniReference());
});
