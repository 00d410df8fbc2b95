import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CHECKS, generateChecks } from "./checks.ts";
import { API_REFERENCE, generateReference } from "./reference.ts";
import { generateTypes, TYPES } from "./types.ts";
import { generateValidations, withValidations } from "./validations.ts";

describe("what is generated from crds/ and rules.ts, and is stale unless `make generate` has run", () => {
  it("the types", async () => {
    expect(readFileSync(TYPES, "utf8")).toBe(await generateTypes());
  });

  it("the rules in TypeScript", () => {
    expect(readFileSync(CHECKS, "utf8")).toBe(generateChecks());
  });

  it.each([...generateValidations()])("the rules in crds/%s", (_name, { url, text }) => {
    expect(readFileSync(url, "utf8")).toBe(text);
  });

  it("docs/api.md", () => {
    expect(readFileSync(API_REFERENCE, "utf8")).toBe(generateReference());
  });
});

describe("the rules in a definition", () => {
  const [[, { text }] = ["", { text: "" }]] = generateValidations();
  const WITHOUT = /^ *x-kubernetes-validations:\n(?: *- rule: .*\n *message: .*\n)+/gm;

  it("are added where there are none, and change nothing else", () => {
    const bare = text.replaceAll(WITHOUT, "");
    expect(bare).not.toContain("x-kubernetes-validations:");
    expect(withValidations(bare)).toBe(text);
  });

  it("are removed where the table has none", () => {
    const extra = text.replace(
      /^( *)description: UDP, or IP protocol 115.*\n/m,
      '$&$1x-kubernetes-validations:\n$1  - rule: "true"\n$1    message: "never"\n',
    );
    expect(extra).not.toBe(text);
    expect(withValidations(extra)).toBe(text);
  });
});
