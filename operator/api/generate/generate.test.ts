import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CHECKS, generateChecks } from "./checks.ts";
import { API_REFERENCE, generateReference } from "./reference.ts";
import { generateTypes, TYPES } from "./types.ts";
import { generateValidations, withValidations } from "./validations.ts";

describe("a generated file is up to date (else run `make generate`):", () => {
  it("generated.ts", async () => {
    expect(readFileSync(TYPES, "utf8")).toBe(await generateTypes());
  });

  it("rule-checks.ts", () => {
    expect(readFileSync(CHECKS, "utf8")).toBe(generateChecks());
  });

  it.each([...generateValidations()])("crds/%s", (_name, { url, text }) => {
    expect(readFileSync(url, "utf8")).toBe(text);
  });

  it("docs/api.md", () => {
    expect(readFileSync(API_REFERENCE, "utf8")).toBe(generateReference());
  });
});

it.each([...generateValidations()])(
  "%s has no field with which Kubernetes 1.20 treats lists as one value",
  (_name, { text }) => {
    expect(text).not.toMatch(/^ *x-kubernetes-int-or-string:/m);
  },
);

describe("rules in a definition", () => {
  const [[, { text }] = ["", { text: "" }]] = generateValidations();
  const WITHOUT = /^ *x-kubernetes-validations:\n(?: *- rule: .*\n *message: .*\n)+/gm;

  it("are added if missing, and nothing else changes", () => {
    const bare = text.replaceAll(WITHOUT, "");
    expect(bare).not.toContain("x-kubernetes-validations:");
    expect(withValidations(bare)).toBe(text);
  });

  it("are removed if rules.ts has none for the field", () => {
    const extra = text.replace(
      /^( *)description: UDP, or IP protocol 115.*\n/m,
      '$&$1x-kubernetes-validations:\n$1  - rule: "true"\n$1    message: "never"\n',
    );
    expect(extra).not.toBe(text);
    expect(withValidations(extra)).toBe(text);
  });
});
