import { expect, it } from "vitest";
import type { Schema } from "../crds.ts";
import { translate } from "./cel.ts";

const schema: Schema = {
  required: ["name"],
  properties: {
    name: { type: "string" },
    mode: { type: "string", default: "Auto" },
    end: { type: "object", properties: { port: { type: "integer" } } },
    list: { type: "array", items: { properties: { name: { type: "string" } } } },
  },
};
const self = { code: "self", schema };

it.each([
  [
    "self.name == 'a' && !has(self.end.port)",
    '((self.name === "a") && (self.end?.port === undefined))',
  ],
  ["self.mode != 'Kernel'", '((self.mode ?? "Auto") !== "Kernel")'],
  ["self.name.matches('^a/b$')", "/^a\\/b$/.test(self.name)"],
  ["duration(self.mode) < duration('2s')", '(durationMs((self.mode ?? "Auto")) < 2000)'],
  ["has(self.end.port) ? true : 1 < 2", "(((self.end?.port !== undefined)) ? (true) : ((1 < 2)))"],
  [
    "self.list.exists_one(x, x.name.contains(self.name))",
    "((self.list ?? []).filter((x) => x.name?.includes(self.name)).length === 1)",
  ],
])("translates %s", (cel, code) => {
  expect(translate(cel, { self })).toBe(code);
});

it.each([
  ["self.nothing == 1", "self has no field nothing"],
  ["has(self.mode)", "is always there"],
  ["oldSelf == self", "oldSelf is not translated"],
  ["self.name.startsWith('a')", "startsWith() is not translated"],
  ["size(self.list) > 1", "size() is not translated"],
  ["self.name.matches(self.mode)", "matches() requires a constant"],
  ["1 + 2 == 3", "+ is not translated"],
])("refuses %s", (cel, message) => {
  expect(() => translate(cel, { self })).toThrow(message);
});
