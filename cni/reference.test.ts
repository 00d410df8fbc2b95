import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { CNI_REFERENCE, generateCniReference } from "./reference.ts";

it("equals docs/cni.md; run `make generate` if it does not", () => {
  expect(readFileSync(CNI_REFERENCE, "utf8")).toBe(generateCniReference());
});
